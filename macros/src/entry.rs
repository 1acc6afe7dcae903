//! `#[goweft::main]` and `#[goweft::test]`: a function that runs as a
//! goroutine.
//!
//! The function stays as it is, inside one of the same name that starts the
//! runtime and calls it, so that its errors, its line numbers and a call of
//! itself are what they were. What it returns is turned into an exit code by
//! the goroutine: a result need not be `Send`, and `Err` is printed as it
//! always is.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, ItemFn, Result, ReturnType, Safety, Token};

/// Which of the two attributes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Main,
    Test,
}

impl Entry {
    fn attribute(self) -> &'static str {
        match self {
            Entry::Main => "#[goweft::main]",
            Entry::Test => "#[goweft::test]",
        }
    }
}

/// Expands the attribute with `options` on `item`. With an error comes the item
/// as it was, so that the rest of the program still finds it.
pub(crate) fn expand(entry: Entry, options: TokenStream, item: TokenStream) -> TokenStream {
    match try_expand(entry, options, item.clone()) {
        Ok(expanded) => expanded,
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#error #item)
        }
    }
}

fn try_expand(entry: Entry, options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let function: ItemFn = syn::parse2(item).map_err(|e| {
        let text = format!("{} goes on a function with a body: {e}", entry.attribute());
        Error::new(e.span(), text)
    })?;
    check(entry, &function)?;
    let config = syn::parse2::<Options>(options)?.config();

    let ItemFn {
        attrs,
        vis,
        sig,
        block,
        ..
    } = function;
    let name = &sig.ident;
    let output = &sig.output;
    let span = Span::mixed_site().located_at(name.span());
    let (marker, start) = match entry {
        Entry::Main => (quote!(), quote_spanned!(span=> ::goweft::__private::main)),
        Entry::Test => (
            quote_spanned!(span=> #[::core::prelude::v1::test]),
            quote_spanned!(span=> ::goweft::__private::test),
        ),
    };
    Ok(match output {
        // `should_panic` wants a test without a result.
        ReturnType::Default => quote! {
            #marker
            #(#attrs)*
            #vis fn #name() {
                fn #name() #block
                #start(#config, #name)
            }
        },
        ReturnType::Type(..) => {
            let report =
                quote_spanned!(output.span()=> ::std::process::Termination::report(#name()));
            quote! {
                #marker
                #(#attrs)*
                #vis fn #name() -> ::std::process::ExitCode {
                    fn #name() #output #block
                    #[allow(unreachable_code)]
                    #start(#config, || #report)
                }
            }
        }
    })
}

/// Says what such a function cannot be.
fn check(entry: Entry, function: &ItemFn) -> Result<()> {
    let sig = &function.sig;
    let attribute = entry.attribute();
    if let Some(token) = sig.asyncness {
        let text = format!(
            "{attribute} runs plain blocking code: remove `async`, and call `goweft::block_on` for a future"
        );
        return Err(Error::new_spanned(token, text));
    }
    if let Some(token) = sig.constness {
        return Err(Error::new_spanned(
            token,
            format!("{attribute} does not go on a `const fn`"),
        ));
    }
    if let Safety::Unsafe(token) = &sig.safety {
        return Err(Error::new_spanned(
            token,
            format!("{attribute} does not go on an `unsafe fn`"),
        ));
    }
    if let Some(abi) = &sig.abi {
        return Err(Error::new_spanned(
            abi,
            format!("{attribute} does not go on an `extern` function"),
        ));
    }
    if !sig.generics.params.is_empty() || sig.generics.where_clause.is_some() {
        let generics = &sig.generics;
        let text = format!("{attribute} does not go on a generic function");
        let at = if generics.params.is_empty() {
            sig.ident.span()
        } else {
            generics.params.span()
        };
        return Err(Error::new(at, text));
    }
    if !sig.inputs.is_empty() {
        return Err(Error::new_spanned(
            &sig.inputs,
            format!("the function under {attribute} takes no arguments"),
        ));
    }
    if entry == Entry::Main && sig.ident != "main" {
        return Err(Error::new_spanned(
            &sig.ident,
            "#[goweft::main] goes on `fn main`",
        ));
    }
    if entry == Entry::Test && function.attrs.iter().any(|a| a.path().is_ident("test")) {
        return Err(Error::new_spanned(
            &sig.ident,
            "#[goweft::test] makes the function a test: remove `#[test]`",
        ));
    }
    Ok(())
}

/// The setters of `Config`, by name.
const NAMES: [&str; 9] = [
    "maxprocs",
    "stack_size",
    "time_slice",
    "max_threads",
    "affinity",
    "container_limits",
    "panic",
    "migration",
    "exit_on_sigquit",
];

/// `name = value, …`
struct Options(Vec<(Ident, Expr)>);

impl Options {
    fn config(&self) -> TokenStream {
        let setters = self.0.iter().map(|(name, value)| {
            let value = argument(name, value);
            quote!(.#name(#value))
        });
        quote!(::goweft::Config::new() #(#setters)*)
    }
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Options> {
        let mut options: Vec<(Ident, Expr)> = Vec::new();
        while !input.is_empty() {
            let name: Ident = input.parse()?;
            if !NAMES.iter().any(|known| name == known) {
                return Err(Error::new(
                    name.span(),
                    format!("no option `{name}`; there are `{}`", NAMES.join("`, `")),
                ));
            }
            if options.iter().any(|(given, _)| *given == name) {
                return Err(Error::new(
                    name.span(),
                    format!("option `{name}` is given twice"),
                ));
            }
            input
                .parse::<Token![=]>()
                .map_err(|e| Error::new(e.span(), format!("expected `{name} = value`")))?;
            options.push((name, input.parse()?));
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(Options(options))
    }
}

/// The argument of the setter: what is written, save that a variant may stand
/// without its type and a list of CPUs without its `&`.
fn argument(name: &Ident, value: &Expr) -> TokenStream {
    let variants = match name.to_string().as_str() {
        "panic" => Some(("PanicPolicy", ["Isolate", "Abort"])),
        "migration" => Some(("Migration", ["Free", "Pinned"])),
        _ => None,
    };
    match (value, variants) {
        (Expr::Path(path), Some((of, variants)))
            if variants.iter().any(|v| path.path.is_ident(v)) =>
        {
            let of = Ident::new(of, Span::mixed_site());
            quote!(::goweft::#of::#path)
        }
        (Expr::Array(list), _) if name == "affinity" => quote!(&#list),
        _ => quote!(#value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(entry: Entry, options: &str, item: &str) -> String {
        expand(entry, options.parse().unwrap(), item.parse().unwrap()).to_string()
    }

    fn assert_expands(entry: Entry, options: &str, item: &str, want: &str) {
        // Spaces tell where tokens came from.
        let want = want.parse::<TokenStream>().unwrap().to_string();
        assert_eq!(
            text(entry, options, item).replace(' ', ""),
            want.replace(' ', "")
        );
    }

    fn assert_refused(entry: Entry, options: &str, item: &str, why: &str) {
        let got = text(entry, options, item);
        assert!(got.contains("compile_error"), "{got}");
        assert!(got.contains(why), "{got}");
        let item: TokenStream = item.parse().unwrap();
        assert!(got.ends_with(&item.to_string()), "the item is kept: {got}");
    }

    #[test]
    fn main_runs_its_body_as_a_goroutine() {
        assert_expands(
            Entry::Main,
            "",
            "#[allow(x)] pub fn main() { f(); }",
            "#[allow(x)] pub fn main() { fn main() { f(); } ::goweft::__private::main(::goweft::Config::new(), main) }",
        );
    }

    #[test]
    fn a_result_becomes_an_exit_code_in_the_goroutine() {
        assert_expands(
            Entry::Main,
            "maxprocs = 2, panic = Abort",
            "fn main() -> Result<(), E> { f()? }",
            "fn main() -> ::std::process::ExitCode {
                fn main() -> Result<(), E> { f()? }
                #[allow(unreachable_code)]
                ::goweft::__private::main(
                    ::goweft::Config::new().maxprocs(2).panic(::goweft::PanicPolicy::Abort),
                    || ::std::process::Termination::report(main()))
            }",
        );
    }

    #[test]
    fn a_test_keeps_its_attributes() {
        assert_expands(
            Entry::Test,
            "affinity = [0, 1], stack_size = 1 << 20",
            "#[should_panic] fn t() { f() }",
            "#[::core::prelude::v1::test] #[should_panic] fn t() {
                fn t() { f() }
                ::goweft::__private::test(::goweft::Config::new().affinity(&[0, 1]).stack_size(1 << 20), t)
            }",
        );
    }

    #[test]
    fn what_cannot_be_an_entry_is_refused() {
        assert_refused(Entry::Main, "", "async fn main() {}", "remove `async`");
        assert_refused(Entry::Main, "", "fn main(n: u32) {}", "takes no arguments");
        assert_refused(Entry::Main, "", "fn start() {}", "goes on `fn main`");
        assert_refused(Entry::Test, "", "fn t<T>() {}", "generic");
        assert_refused(Entry::Test, "", "unsafe fn t() {}", "unsafe fn");
        assert_refused(Entry::Test, "", "#[test] fn t() {}", "remove `#[test]`");
        assert_refused(Entry::Main, "", "struct S;", "goes on a function");
    }

    #[test]
    fn options_are_checked() {
        assert_refused(
            Entry::Main,
            "maxprocs",
            "fn main() {}",
            "expected `maxprocs = value`",
        );
        assert_refused(
            Entry::Main,
            "procs = 1",
            "fn main() {}",
            "no option `procs`; there are `maxprocs`, ",
        );
        assert_refused(
            Entry::Main,
            "maxprocs = 1, maxprocs = 2",
            "fn main() {}",
            "given twice",
        );
    }
}
