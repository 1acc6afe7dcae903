//! A plain page that lists a directory.

use super::target::encode;
use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// The page for `path`, relative to the served directory, with `names`;
/// directories end in a slash. In byte order, directories first.
pub(super) fn page(path: &Path, mut names: Vec<OsString>) -> String {
    names.sort_by_key(|name| (!is_directory(name), name.clone()));
    let title = escape(&format!("/{}", path.display()));
    let mut page = format!(
        "<!doctype html>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n<ul>\n"
    );
    if path != Path::new("") {
        page.push_str("<li><a href=\"../\">../</a>\n");
    }
    for name in &names {
        // The ./ keeps a colon in the name from looking like a scheme.
        let link = encode(name.as_bytes());
        let text = escape(&name.to_string_lossy());
        let _ = writeln!(page, "<li><a href=\"./{link}\">{text}</a>");
    }
    page.push_str("</ul>\n");
    page
}

/// The name of a directory, as [`page`] wants it.
pub(super) fn as_directory(name: OsString) -> OsString {
    let mut bytes = name.into_vec();
    bytes.push(b'/');
    OsString::from_vec(bytes)
}

fn is_directory(name: &OsString) -> bool {
    name.as_bytes().ends_with(b"/")
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_escaped_and_encoded() {
        let names = ["b", "a & <i>", "c:d"].map(OsString::from).into_iter();
        let page = page(
            Path::new("x<y"),
            names.chain([as_directory("z".into())]).collect(),
        );
        let lines: Vec<&str> = page.lines().filter(|line| line.contains("href")).collect();
        assert_eq!(
            lines,
            [
                "<li><a href=\"../\">../</a>",
                "<li><a href=\"./z/\">z/</a>",
                "<li><a href=\"./a%20%26%20%3Ci%3E\">a &amp; &lt;i&gt;</a>",
                "<li><a href=\"./b\">b</a>",
                "<li><a href=\"./c%3Ad\">c:d</a>",
            ]
        );
        assert!(page.contains("<h1>/x&lt;y</h1>"));
    }

    #[test]
    fn the_top_has_no_way_up() {
        assert!(!page(Path::new(""), Vec::new()).contains("../"));
    }
}
