//! `select!`: its grammar and what it becomes.
//!
//! ```text
//! select! {
//!     recv(OPERAND) -> PATTERN => BODY,
//!     send(OPERAND, VALUE) -> PATTERN => BODY,
//!     default => BODY,                 // or default(TIMEOUT) => BODY
//! }
//! ```
//!
//! It becomes one `match` over references to the operands, so that they are
//! evaluated once, in order, and their temporaries live as long as the
//! arms. In it the select itself, which ends all borrows of the operands but those
//! of a chosen send arm; then a `match` on the chosen index whose arms are the user's, in
//! place: `break`, `continue`, `return` and `?` do what they do around it.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, Pat, Result, Token, parenthesized};

enum Kind {
    Recv {
        operand: Expr,
        pattern: Pat,
    },
    Send {
        operand: Expr,
        value: Expr,
        pattern: Pat,
    },
    Default {
        timeout: Option<Expr>,
    },
}

struct Arm {
    kind: Kind,
    /// The word that began it, for error messages.
    word: Ident,
    body: Expr,
}

struct Select {
    arms: Vec<Arm>,
}

impl Parse for Select {
    fn parse(input: ParseStream<'_>) -> Result<Select> {
        let mut arms: Vec<Arm> = Vec::new();
        while !input.is_empty() {
            arms.push(input.parse()?);
        }
        let mut defaults = arms
            .iter()
            .filter(|arm| matches!(arm.kind, Kind::Default { .. }));
        if let (Some(_), Some(second)) = (defaults.next(), defaults.next()) {
            return Err(Error::new(
                second.word.span(),
                "select!: there can be one `default` arm only",
            ));
        }
        Ok(Select { arms })
    }
}

const ARMS: &str = "select!: expected `recv(channel) -> pattern => body`, \
     `send(channel, value) -> pattern => body`, `default => body` or `default(timeout) => body`";

impl Parse for Arm {
    fn parse(input: ParseStream<'_>) -> Result<Arm> {
        let word = parse_word(input)?;
        let kind = match word.to_string().as_str() {
            "recv" => {
                let args = arguments(input, &word)?;
                let operand = args.parse()?;
                end_of_arguments(&args, "select!: `recv` takes one channel: `recv(channel)`")?;
                Kind::Recv {
                    operand,
                    pattern: pattern(input, &word)?,
                }
            }
            "send" => {
                let args = arguments(input, &word)?;
                let operand = args.parse()?;
                if args.is_empty() {
                    let message =
                        "select!: `send` takes a channel and a value: `send(channel, value)`";
                    return Err(Error::new(word.span(), message));
                }
                args.parse::<Token![,]>()?;
                let value = args.parse()?;
                end_of_arguments(
                    &args,
                    "select!: `send` takes a channel and a value: `send(channel, value)`",
                )?;
                Kind::Send {
                    operand,
                    value,
                    pattern: pattern(input, &word)?,
                }
            }
            "default" => {
                let mut timeout = None;
                if input.peek(syn::token::Paren) {
                    let args = arguments(input, &word)?;
                    if !args.is_empty() {
                        timeout = Some(args.parse()?);
                        end_of_arguments(
                            &args,
                            "select!: `default` takes one timeout: `default(duration)`",
                        )?;
                    }
                }
                if input.peek(Token![->]) {
                    return Err(
                        input.error("select!: `default` has no result: write `default => body`")
                    );
                }
                Kind::Default { timeout }
            }
            _ => return Err(Error::new(word.span(), ARMS)),
        };
        if !input.peek(Token![=>]) {
            return Err(input.error(format!("select!: expected `=> body` after `{word}`")));
        }
        input.parse::<Token![=>]>()?;
        let body = body(input)?;
        Ok(Arm { kind, word, body })
    }
}

fn parse_word(input: ParseStream<'_>) -> Result<Ident> {
    if input.peek(Ident) {
        input.parse()
    } else {
        Err(input.error(ARMS))
    }
}

fn arguments<'a>(input: ParseStream<'a>, word: &Ident) -> Result<syn::parse::ParseBuffer<'a>> {
    if !input.peek(syn::token::Paren) {
        return Err(input.error(format!("select!: expected `(` after `{word}`")));
    }
    let args;
    parenthesized!(args in input);
    if args.is_empty() && word != "default" {
        return Err(Error::new(
            word.span(),
            format!("select!: `{word}` needs a channel"),
        ));
    }
    Ok(args)
}

fn end_of_arguments(args: ParseStream<'_>, message: &str) -> Result<()> {
    if args.peek(Token![,]) {
        args.parse::<Token![,]>()?;
    }
    if args.is_empty() {
        Ok(())
    } else {
        Err(args.error(message))
    }
}

fn pattern(input: ParseStream<'_>, word: &Ident) -> Result<Pat> {
    if !input.peek(Token![->]) {
        let message = format!(
            "select!: expected `-> pattern` after `{word}(..)`; `-> _` discards the result"
        );
        return Err(input.error(message));
    }
    input.parse::<Token![->]>()?;
    let pattern = Pat::parse_multi_with_leading_vert(input)?;
    // A `let` takes alternatives in parentheses only.
    Ok(match pattern {
        Pat::Or(_) => syn::parse_quote!((#pattern)),
        _ => pattern,
    })
}

/// A body as a `match` arm has it: where that needs no comma, none is needed here.
fn body(input: ParseStream<'_>) -> Result<Expr> {
    let body = Expr::parse_with_earlier_boundary_rule(input)?;
    if input.peek(Token![,]) {
        input.parse::<Token![,]>()?;
    } else if !input.is_empty() && !ends_itself(&body) {
        return Err(input.error("select!: expected `,` between arms"));
    }
    Ok(body)
}

fn ends_itself(body: &Expr) -> bool {
    use Expr::*;
    matches!(
        body,
        Block(_) | If(_) | Match(_) | Unsafe(_) | While(_) | Loop(_) | ForLoop(_)
    )
}

/// Expands `select! { input }`.
pub(crate) fn expand(input: TokenStream) -> Result<TokenStream> {
    let Select { arms } = syn::parse2(input)?;
    if arms.is_empty() {
        return Ok(quote!(::goweft::__private::select_nothing()));
    }
    // Names of ours, which the user's code cannot see.
    let here = Span::mixed_site();
    let chosen = Ident::new("chosen", here);
    let timeout = Ident::new("timeout", here);

    let mut operands = Vec::new();
    let mut names = Vec::new();
    let mut slots = Vec::new();
    let mut cases = Vec::new();
    let mut bodies = Vec::new();
    let mut otherwise = quote!(::core::unreachable!());
    let mut choose = quote!(choose);
    let mut limit = None;

    for Arm { kind, body, .. } in &arms {
        let index = cases.len();
        let name = format_ident!("operand_{index}", span = here);
        match kind {
            Kind::Recv { operand, pattern } => {
                let slot = format_ident!("slot_{index}", span = here);
                let at = operand.span().resolved_at(here);
                slots.push(quote_spanned!(at=> let #slot = ::goweft::__private::slot_for(#name);));
                cases.push(quote_spanned!(at=> ::goweft::__private::receives(#name, &#slot)));
                bodies.push(quote!(#index => { let #pattern = #slot.take(); #body }));
                operands.push(quote!(&(#operand)));
                names.push(name);
            }
            Kind::Send {
                operand,
                value,
                pattern,
            } => {
                let arm = format_ident!("arm_{index}", span = here);
                let at = operand.span().resolved_at(here);
                cases.push(quote_spanned!(at=> ::goweft::__private::sends(#name)));
                bodies.push(quote! {
                    #index => {
                        let #arm = ::goweft::__private::SendArm::new(#name, #chosen);
                        let #pattern = #arm.send(#value);
                        #body
                    }
                });
                operands.push(quote!(&(#operand)));
                names.push(name);
            }
            Kind::Default { timeout: duration } => {
                choose = quote!(choose_now);
                otherwise = quote!(#body);
                if let Some(duration) = duration {
                    choose = quote!(choose_by);
                    limit = Some(quote!(#timeout));
                    // Evaluated in its place, like the operands.
                    operands.push(quote!(#duration));
                    names.push(timeout.clone());
                }
            }
        }
    }
    Ok(quote! {
        match (#(#operands,)*) {
            (#(#names,)*) => {
                #(#slots)*
                let #chosen = ::goweft::__private::#choose([#(#cases),*], #limit);
                match #chosen.index() {
                    #(#bodies)*
                    _ => #otherwise,
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::expand;
    use quote::quote;

    fn error(input: proc_macro2::TokenStream) -> String {
        expand(input).expect_err("it must not expand").to_string()
    }

    #[test]
    fn every_kind_of_arm_expands() {
        let expanded = expand(quote! {
            recv(rx) -> Ok(msg) | Err(msg) => { body() }
            recv(self.rx) -> _ => match x { _ => {} }
            send(tx, value?) -> res => res?,
            default(timeout) => break,
        });
        let expanded = expanded.unwrap().to_string();
        assert!(expanded.contains("choose_by"), "{expanded}");
        assert!(expanded.contains("& (self . rx)"), "{expanded}");
        syn::parse_str::<syn::Expr>(&expanded).expect("the expansion is an expression");
    }

    #[test]
    fn no_arms_wait_for_ever() {
        assert!(
            expand(quote!())
                .unwrap()
                .to_string()
                .contains("select_nothing")
        );
    }

    #[test]
    fn mistakes_are_explained() {
        for (input, expected) in [
            (
                quote!(read(rx) -> _ => {}),
                "expected `recv(channel) -> pattern => body`",
            ),
            (quote!(recv => {}), "expected `(` after `recv`"),
            (quote!(recv() -> _ => {}), "`recv` needs a channel"),
            (quote!(recv(a, b) -> _ => {}), "`recv` takes one channel"),
            (
                quote!(recv(a) => {}),
                "expected `-> pattern` after `recv(..)`",
            ),
            (quote!(recv(a) -> _), "expected `=> body` after `recv`"),
            (
                quote!(send(a) -> _ => {}),
                "`send` takes a channel and a value",
            ),
            (
                quote!(send(a, 1, 2) -> _ => {}),
                "`send` takes a channel and a value",
            ),
            (quote!(default(1, 2) => {}), "`default` takes one timeout"),
            (quote!(default -> _ => {}), "`default` has no result"),
            (
                quote!(default => {} default => {}),
                "one `default` arm only",
            ),
            (
                quote!(recv(a) -> _ => 1 recv(b) -> _ => 2),
                "expected `,` between arms",
            ),
        ] {
            let text = error(input.clone());
            assert!(text.contains(expected), "{input}: {text}");
        }
    }
}
