//! `go!`: what to run, and what is evaluated before it runs.
//!
//! What always holds: the expansion is one block of type `()`; options first,
//! then receiver and arguments, are evaluated by the caller, in the order in
//! which they are written; the goroutine gets one closure. Names that the
//! expansion makes are `mixed_site`: they neither capture nor hide a name of
//! the user's.
//!
//! 1. Options (`name = …`, `stack = …`, `pinned`) are taken off the front.
//! 2. What is left is read as one expression. A closure or a path is handed
//!    over as it is; a call and a method call have their parts bound by `let`
//!    and become a closure that makes the call.
//! 3. What is no such expression is the body of a `move` closure, token by
//!    token, so that the compiler itself explains what is wrong in it.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprCall, ExprMethodCall, Ident, Result, Token};

/// Expands the input of `go!`.
pub(crate) fn expand(input: TokenStream) -> Result<TokenStream> {
    let Go { options, body } = syn::parse2(input)?;
    if body.is_empty() {
        return Err(Error::new(
            Span::call_site(),
            "`go!` needs something to run: a closure, a function, a call or a block",
        ));
    }
    let span = body.span().resolved_at(Span::mixed_site());
    let Work { bindings, closure } = work(body)?;
    let Some(builder) = options.builder() else {
        let go = quote_spanned!(span=> ::goweft::__private::go);
        return Ok(quote!({ #(#bindings)* #go(#closure); }));
    };
    let go_with = quote_spanned!(span=> ::goweft::__private::go_with);
    let options = mixed("options");
    Ok(quote!({
        let #options = #builder;
        #(#bindings)*
        #go_with(#options, #closure);
    }))
}

/// The input: options, then tokens that say what to run.
struct Go {
    options: Options,
    body: TokenStream,
}

impl Parse for Go {
    fn parse(input: ParseStream<'_>) -> Result<Go> {
        let mut options = Options::default();
        while options.parse_one(input)? {}
        Ok(Go {
            options,
            body: input.parse()?,
        })
    }
}

#[derive(Default)]
struct Options {
    name: Option<Expr>,
    stack: Option<Expr>,
    pinned: Option<Expr>,
}

impl Options {
    /// Takes one option and its comma off the front; false when what comes
    /// next is none.
    fn parse_one(&mut self, input: ParseStream<'_>) -> Result<bool> {
        let ahead = input.fork();
        let Ok(name) = ahead.parse::<Ident>() else {
            return Ok(false);
        };
        let is_assignment = ahead.peek(Token![=]) && !ahead.peek(Token![==]);
        let value = if is_assignment {
            ahead.parse::<Token![=]>()?;
            let Ok(value) = ahead.parse::<Expr>() else {
                return Ok(false);
            };
            value
        } else if name == "pinned" && ahead.peek(Token![,]) {
            syn::parse_quote!(true)
        } else {
            return Ok(false);
        };
        let comma = ahead.parse::<Option<Token![,]>>()?;
        let is_option = if ahead.is_empty() {
            // `pinned,` is a path, `n = 1` an expression; `name = "x"` is not
            // taken for an assignment, but for an option with nothing to run.
            is_assignment && self.slot(&name).is_some()
        } else {
            // Without the comma it is the first statement of a block.
            comma.is_some()
        };
        if !is_option {
            return Ok(false);
        }
        let Some(slot) = self.slot(&name) else {
            return Err(Error::new(
                name.span(),
                format!("`go!` has no option `{name}`; it has `name`, `stack` and `pinned`"),
            ));
        };
        if slot.replace(value).is_some() {
            return Err(Error::new(
                name.span(),
                format!("option `{name}` is given twice"),
            ));
        }
        syn::parse::discouraged::Speculative::advance_to(input, &ahead);
        Ok(true)
    }

    fn slot(&mut self, name: &Ident) -> Option<&mut Option<Expr>> {
        match name.to_string().as_str() {
            "name" => Some(&mut self.name),
            "stack" => Some(&mut self.stack),
            "pinned" => Some(&mut self.pinned),
            _ => None,
        }
    }

    /// The expression that makes the `Builder`, when any option is given.
    fn builder(&self) -> Option<TokenStream> {
        if self.name.is_none() && self.stack.is_none() && self.pinned.is_none() {
            return None;
        }
        let name = self.name.iter();
        let stack = self.stack.iter();
        let pinned = self.pinned.iter();
        Some(quote! {
            ::goweft::Builder::new() #(.name(#name))* #(.stack_size(#stack))* #(.pinned(#pinned))*
        })
    }
}

/// `let`s that the caller runs, and the closure that the goroutine runs.
#[derive(Default)]
struct Work {
    bindings: Vec<TokenStream>,
    closure: TokenStream,
}

impl Work {
    /// Evaluates `value` now; the name under which the closure finds it.
    fn bind(&mut self, name: &str, value: &Expr) -> Ident {
        let name = mixed(name);
        self.bindings.push(quote!(let #name = #value;));
        name
    }

    /// As [`bind`](Self::bind), for what is called: it may take `&mut self`.
    fn bind_mut(&mut self, name: &str, value: &Expr) -> Ident {
        let name = mixed(name);
        self.bindings
            .push(quote!(#[allow(unused_mut)] let mut #name = #value;));
        name
    }

    /// What stands in the call for each argument.
    ///
    /// A closure stays in the call when nothing that comes after it has to be
    /// evaluated: only there does the compiler infer the types of its
    /// parameters, and the `move` closure around it takes what it captures at
    /// the same moment.
    fn bind_args(&mut self, args: &Punctuated<Expr, Token![,]>) -> Vec<TokenStream> {
        let bound = args
            .iter()
            .rposition(|arg| !matches!(arg, Expr::Closure(_)))
            .map_or(0, |last| last + 1);
        let mut passed = Vec::with_capacity(args.len());
        for (i, arg) in args.iter().enumerate() {
            if i < bound {
                let name = self.bind(&format!("arg{i}"), arg);
                passed.push(quote!(#name));
            } else {
                passed.push(quote!(#arg));
            }
        }
        passed
    }
}

fn mixed(name: &str) -> Ident {
    format_ident!("__goweft_{}", name, span = Span::mixed_site())
}

fn work(body: TokenStream) -> Result<Work> {
    match syn::parse2::<Whole>(body.clone()) {
        Ok(Whole(expr)) => match ungrouped(expr) {
            Expr::Closure(closure) if closure.asyncness.is_some() => Err(Error::new_spanned(
                closure.asyncness,
                "a goroutine runs plain blocking code: remove `async`, or pass the future to `goweft::block_on`",
            )),
            Expr::Closure(closure) => Ok(Work {
                closure: quote!(#closure),
                ..Work::default()
            }),
            Expr::Async(block) => Err(Error::new_spanned(
                block.async_token,
                "an async block does nothing when it is dropped: remove `async`, \
                 or pass the future to `goweft::block_on`",
            )),
            // Braces around these braces would be linted.
            Expr::Block(block) if block.label.is_none() && block.attrs.is_empty() => Ok(Work {
                closure: quote!(move || #block),
                ..Work::default()
            }),
            Expr::Path(path) => Ok(Work {
                closure: quote!(#path),
                ..Work::default()
            }),
            Expr::Call(call) => Ok(call_later(&call)),
            Expr::MethodCall(call) => Ok(method_call_later(&call)),
            _ => Ok(block(&body)),
        },
        Err(_) => Ok(block(&body)),
    }
}

fn block(body: &TokenStream) -> Work {
    Work {
        closure: quote!(move || { #body }),
        ..Work::default()
    }
}

fn call_later(call: &ExprCall) -> Work {
    let mut work = Work::default();
    let attrs = &call.attrs;
    // A path needs no evaluation: a function is what it is, and a variable is
    // taken by the `move` closure.
    let callee = match ungrouped((*call.func).clone()) {
        Expr::Path(path) => quote!(#path),
        other => {
            let name = work.bind_mut("callee", &other);
            quote!(#name)
        }
    };
    let args = work.bind_args(&call.args);
    let call = quote_spanned!(call.paren_token.span.join()=> (#(#args),*));
    work.closure = quote!(move || #(#attrs)* #callee #call);
    work
}

fn method_call_later(call: &ExprMethodCall) -> Work {
    let mut work = Work::default();
    let receiver = work.bind_mut("receiver", &call.receiver);
    let args = work.bind_args(&call.args);
    let ExprMethodCall {
        attrs,
        dot_token,
        method,
        turbofish,
        ..
    } = call;
    let call = quote_spanned!(call.paren_token.span.join()=> (#(#args),*));
    work.closure = quote!(move || #(#attrs)* #receiver #dot_token #method #turbofish #call);
    work
}

/// One expression, a comma behind it perhaps, and nothing else.
struct Whole(Expr);

impl Parse for Whole {
    fn parse(input: ParseStream<'_>) -> Result<Whole> {
        let expr = input.parse()?;
        input.parse::<Option<Token![,]>>()?;
        if input.is_empty() {
            Ok(Whole(expr))
        } else {
            Err(input.error("more than one expression"))
        }
    }
}

/// The expression inside parentheses, and inside the invisible ones that a
/// macro's `$e:expr` puts around it.
fn ungrouped(expr: Expr) -> Expr {
    match expr {
        Expr::Group(group) => ungrouped(*group.expr),
        Expr::Paren(paren) => ungrouped(*paren.expr),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares as token text without spaces, which tell where tokens came from.
    fn assert_expands(input: &str, want: &str) {
        let got = expand(input.parse().unwrap())
            .unwrap()
            .to_string()
            .replace("__goweft_", "");
        let want = want.parse::<TokenStream>().unwrap().to_string();
        assert_eq!(
            got.replace(' ', ""),
            want.replace(' ', ""),
            "from `{input}`"
        );
    }

    fn error(input: &str) -> String {
        expand(input.parse().unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn closures_and_paths_are_handed_over_as_they_are() {
        assert_expands(
            "move || work(x)",
            "{ ::goweft::__private::go(move || work(x)); }",
        );
        assert_expands("|| work()", "{ ::goweft::__private::go(|| work()); }");
        assert_expands("(move || 1)", "{ ::goweft::__private::go(move || 1); }");
        assert_expands("f", "{ ::goweft::__private::go(f); }");
        assert_expands("a::b::<u8>,", "{ ::goweft::__private::go(a::b::<u8>); }");
    }

    #[test]
    fn arguments_of_a_call_are_bound_in_order() {
        assert_expands(
            "worker(id, tx.clone())",
            "{ let arg0 = id; let arg1 = tx.clone();
               ::goweft::__private::go(move || worker(arg0, arg1)); }",
        );
        assert_expands(
            "make()(x)",
            "{ #[allow(unused_mut)] let mut callee = make(); let arg0 = x;
               ::goweft::__private::go(move || callee(arg0)); }",
        );
    }

    #[test]
    fn receiver_is_bound_before_the_arguments() {
        assert_expands(
            "a.b().serve::<T>(conn, n + 1)",
            "{ #[allow(unused_mut)] let mut receiver = a.b(); let arg0 = conn; let arg1 = n + 1;
               ::goweft::__private::go(move || receiver.serve::<T>(arg0, arg1)); }",
        );
    }

    #[test]
    fn a_closure_argument_stays_in_the_call_when_nothing_is_evaluated_after_it() {
        assert_expands(
            "each(v, |x| x.len())",
            "{ let arg0 = v; ::goweft::__private::go(move || each(arg0, |x| x.len())); }",
        );
        assert_expands(
            "each(|x| x, next())",
            "{ let arg0 = |x| x; let arg1 = next(); ::goweft::__private::go(move || each(arg0, arg1)); }",
        );
    }

    #[test]
    fn anything_else_is_a_block() {
        assert_expands("{ a(); }", "{ ::goweft::__private::go(move || { a(); }); }");
        for body in [
            "a();",
            "let y = f(x); g(y)",
            "if a { b() } else { c() }",
            "n += 1",
            "println!()",
            "a = b; c()",
        ] {
            assert_expands(
                body,
                &format!("{{ ::goweft::__private::go(move || {{ {body} }}); }}"),
            );
        }
    }

    #[test]
    fn options_come_in_any_order_before_any_form() {
        assert_expands(
            "pinned, stack = 1 << 20, name = \"acceptor\", f(x)",
            "{ let options = ::goweft::Builder::new().name(\"acceptor\").stack_size(1 << 20).pinned(true);
               let arg0 = x; ::goweft::__private::go_with(options, move || f(arg0)); }",
        );
        assert_expands(
            "name = n, pinned = false, let x = 1; f(x)",
            "{ let options = ::goweft::Builder::new().name(n).pinned(false);
               ::goweft::__private::go_with(options, move || { let x = 1; f(x) }); }",
        );
    }

    #[test]
    fn names_of_options_are_ordinary_names_elsewhere() {
        assert_expands("pinned", "{ ::goweft::__private::go(pinned); }");
        assert_expands("pinned,", "{ ::goweft::__private::go(pinned); }");
        assert_expands(
            "name = next; f()",
            "{ ::goweft::__private::go(move || { name = next; f() }); }",
        );
        assert_expands(
            "stack == 1",
            "{ ::goweft::__private::go(move || { stack == 1 }); }",
        );
    }

    #[test]
    fn mistakes_are_named() {
        assert!(error("").starts_with("`go!` needs something to run"));
        assert!(error("name = \"x\"").starts_with("`go!` needs something to run"));
        assert_eq!(
            error("nmae = \"x\", f()"),
            "`go!` has no option `nmae`; it has `name`, `stack` and `pinned`"
        );
        assert_eq!(
            error("stack = 1, stack = 2, f()"),
            "option `stack` is given twice"
        );
        assert!(error("async move { f().await }").starts_with("an async block does nothing"));
        assert!(error("async || f().await").starts_with("a goroutine runs plain blocking code"));
    }
}
