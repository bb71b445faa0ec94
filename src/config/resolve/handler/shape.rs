//! A handler's `when` and `transform`.

use std::sync::Arc;

use crate::config::desk::Desk;
use crate::config::file::FileHandler;
use crate::handler::shape::{Shape, ShapeSettings};

/// Compiles what is written. `None` when nothing is, or when it can't be used, which was reported.
pub(super) fn shape(desk: &mut Desk<'_>, text: &str, file: &FileHandler) -> Option<Arc<Shape>> {
    let settings = ShapeSettings { when: file.when.clone(), transform: file.transform.clone() };
    match Shape::new(&settings) {
        Ok(shape) => shape.map(Arc::new),
        Err(faults) => {
            for fault in faults {
                let (key, why) = (fault.key, fault.why);
                desk.fault(&["handlers", text, key], format!("`{key}` {why}"));
            }
            None
        }
    }
}
