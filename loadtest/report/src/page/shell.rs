//! The frame of every page, and the only way text gets into one.
//!
//! **Invariants**: pages load nothing and run nothing (a policy in the page forbids both); whatever
//! came from a result, a file or a server passes through [`Text`].

use std::fmt::{self, Display, Write};

/// Rows of a table that are shown; the file has them all.
const MOST_ROWS: usize = 200;

/// A page in the making.
#[derive(Debug)]
pub(crate) struct Page(String);

/// Text of any origin, made safe for HTML content and quoted attributes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a>(pub(crate) &'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' | '\t' => f.write_char(letter)?,
                // Those that turn the direction of text could make it say something else.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => f.write_char('\u{fffd}')?,
                _ if letter.is_control() => f.write_char('\u{fffd}')?,
                _ => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

impl Page {
    /// Begins a page.
    pub(crate) fn new(title: &str) -> Self {
        let style = include_str!("style.css");
        Self(format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" \
             content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n",
            Text(title)
        ))
    }

    /// Appends markup whose texts went through [`Text`].
    pub(crate) fn put(&mut self, markup: impl Display) {
        // Writing to a string cannot fail.
        let _ok = writeln!(self.0, "{markup}");
    }

    /// Appends a section's heading.
    pub(crate) fn heading(&mut self, id: &str, text: &str) {
        self.put(format_args!("<h2 id=\"{}\">{}</h2>", Text(id), Text(text)));
    }

    /// Appends a paragraph.
    pub(crate) fn paragraph(&mut self, text: &str) {
        self.put(format_args!("<p>{}</p>", Text(text)));
    }

    /// Appends a table. Columns whose head ends with `#` hold numbers.
    pub(crate) fn table(&mut self, caption: &str, heads: &[&str], rows: &[Vec<Cell>]) {
        let mut text = format!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\">\
             <table{1}><caption>{0}</caption><thead><tr>",
            Text(caption),
            // Two columns at the page's two edges are not read as one row.
            if heads.len() < 3 {
                " class=\"slim\""
            } else {
                ""
            }
        );
        for head in heads {
            let number = if head.ends_with('#') {
                " class=\"n\""
            } else {
                ""
            };
            let head = head.trim_end_matches('#');
            let _ok = write!(text, "<th scope=\"col\"{number}>{}</th>", Text(head));
        }
        text.push_str("</tr></thead><tbody>");
        for row in rows.iter().take(MOST_ROWS) {
            text.push_str("<tr>");
            for (cell, head) in row.iter().zip(heads) {
                let number = if head.ends_with('#') {
                    " class=\"n\""
                } else {
                    ""
                };
                let _ok = write!(text, "<td{number}>{}</td>", cell.0);
            }
            text.push_str("</tr>");
        }
        text.push_str("</tbody></table></div>");
        self.put(text);
        if rows.len() > MOST_ROWS {
            let more = rows.len() - MOST_ROWS;
            self.paragraph(&format!("{more} more are in result.json."));
        }
    }

    /// Ends the page.
    pub(crate) fn finish(mut self) -> String {
        self.0.push_str("</main>\n</body>\n</html>\n");
        self.0
    }
}

/// A table's cell: markup whose texts went through [`Text`].
#[derive(Clone, Debug)]
pub(crate) struct Cell(String);

impl Cell {
    /// Any text.
    pub(crate) fn text(text: &str) -> Self {
        Self(Text(text).to_string())
    }

    /// Text in the letters of code.
    pub(crate) fn code(text: &str) -> Self {
        // Names with underscores may break after them.
        let text = Text(text).to_string().replace('_', "_<wbr>");
        Self(format!("<code>{text}</code>"))
    }

    /// A mark that says good, bad or doubtful in words, sign and colour.
    pub(crate) fn mark(mark: Mark, words: &str) -> Self {
        Self(mark.markup(words))
    }
}

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Bad,
    Doubt,
    Good,
    Plain,
}

impl Mark {
    pub(crate) fn markup(self, words: &str) -> String {
        let (class, sign) = match self {
            Self::Bad => ("bad", "✗"),
            Self::Doubt => ("doubt", "!"),
            Self::Good => ("good", "✓"),
            Self::Plain => ("plain", "·"),
        };
        format!(
            "<span class=\"mark {class}\"><span aria-hidden=\"true\">{sign}</span> {}</span>",
            Text(words)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance of `#rrggbb` (WCAG 2.2).
    fn luminance(colour: &str) -> f64 {
        let part = |at: usize| {
            let value = u8::from_str_radix(colour.get(at..at + 2).unwrap(), 16).unwrap();
            let value = f64::from(value) / 255.0;
            if value <= 0.040_45 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    }

    #[test]
    fn letters_and_lines_stand_out_in_light_in_dark_and_in_print() {
        let style = include_str!("style.css");
        let themes: Vec<&str> = style.split(":root").skip(1).collect();
        assert_eq!(themes.len(), 3);
        for theme in themes {
            let theme = theme.split('}').next().unwrap();
            let colour = |name: &str| {
                let rest = theme.split(&format!("--{name}: ")).nth(1).unwrap();
                luminance(rest.split(';').next().unwrap())
            };
            let contrast = |one: &str, other: &str| {
                let (one, other) = (colour(one), colour(other));
                (one.max(other) + 0.05) / (one.min(other) + 0.05)
            };
            let pairs = [
                ("ink", "tint"),
                ("soft", "paper"),
                ("soft", "tint"),
                ("good", "good-tint"),
                ("bad", "bad-tint"),
                ("doubt", "doubt-tint"),
                ("good", "paper"),
                ("bad", "paper"),
                ("fault", "paper"),
                ("c0", "paper"),
                ("c1", "paper"),
                ("c2", "paper"),
                ("c3", "paper"),
                ("c4", "paper"),
            ];
            for (one, other) in pairs {
                let contrast = contrast(one, other);
                assert!(contrast >= 4.5, "{one} on {other}: {contrast:.2}");
            }
        }
    }

    #[test]
    fn text_cannot_become_markup() {
        let hostile = "<script>alert('1')</script>&\"\u{0}\u{202e}\u{2067}\u{1b}[31m\r\n";
        assert_eq!(
            Text(hostile).to_string(),
            "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;\
             \u{fffd}\u{fffd}\u{fffd}\u{fffd}[31m\u{fffd}\n"
        );
        let mut page = Page::new("</title><b>");
        page.heading("\"><b>", "<b>");
        page.paragraph("<b>");
        page.table(
            "<b>",
            &["<b>"],
            &[vec![Cell::text("<b>")], vec![Cell::code("<b>")]],
        );
        page.put(Mark::Bad.markup("<b>"));
        assert!(!page.finish().contains("<b>"));
    }
}
