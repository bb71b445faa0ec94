//! A progress bar, on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Output;

/// How far something is: a bar with the time that is left, or a count when nobody knows how long it is.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Output {
    /// A bar on standard error; it shows nothing when that is no terminal, and when we are quiet.
    #[must_use]
    pub fn bar(&self, total: Option<u64>) -> Bar {
        let (bar, template) = match total {
            Some(total) => {
                (ProgressBar::new(total), "{bar:30} {pos}/{len} rows  {msg}  {eta} left")
            }
            None => (ProgressBar::no_length(), "{spinner} {pos} rows  {msg}  {elapsed}"),
        };
        if self.quiet {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        // A template of ours that can't be read leaves the default one.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Bar(bar)
    }
}

impl Bar {
    /// Where it stands, and a word on it.
    pub fn at(&self, position: u64, message: String) {
        self.0.set_message(message);
        self.0.set_position(position);
    }

    /// Takes it away.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}
