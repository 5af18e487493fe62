//! Why one value cannot be read, while those around it can.

use std::borrow::Cow;

/// How many bytes of a name, or of a reason, are told: those of a schema can be as long as it.
const LONGEST: usize = 400;

/// Why a row cannot be read.
#[derive(Debug)]
pub struct Bad {
    what: Cow<'static, str>,
    path: String,
}

impl Bad {
    /// Say that it is in a field.
    pub fn within(mut self, name: &str) -> Self {
        if self.path.len() > LONGEST {
            return self;
        }
        let name = cut(name);
        let dot = if self.path.is_empty() { "" } else { "." };
        self.path = format!("{name}{dot}{}", self.path);
        self
    }

    /// Say what is wrong, and where.
    pub fn told(&self, at: usize) -> String {
        let place = if self.path.is_empty() {
            String::new()
        } else {
            format!("field {:?}: ", self.path)
        };
        format!("{place}{}, at byte {at}", cut(&self.what))
    }
}

impl From<&'static str> for Bad {
    fn from(what: &'static str) -> Self {
        Self {
            what: what.into(),
            path: String::new(),
        }
    }
}

impl From<String> for Bad {
    fn from(what: String) -> Self {
        Self {
            what: what.into(),
            path: String::new(),
        }
    }
}

/// Take the beginning of a text.
fn cut(text: &str) -> &str {
    let mut end = LONGEST.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
