//! All configured sources, by path and by name.

use std::collections::HashMap;
use std::sync::Arc;

use super::Source;

/// All configured sources. Built once, asked for each request.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    list: Vec<Arc<Source>>,
    by_path: HashMap<String, usize>,
}

impl Sources {
    /// Joins them. Two on one path are a fault of the config, which finds it; here the first one wins.
    #[must_use]
    pub fn new(sources: impl IntoIterator<Item = Source>) -> Self {
        let list: Vec<Arc<Source>> = sources.into_iter().map(Arc::new).collect();
        let mut by_path = HashMap::with_capacity(list.len());
        for (at, source) in list.iter().enumerate() {
            by_path.entry(source.path().to_owned()).or_insert(at);
        }
        for (at, source) in list.iter().enumerate() {
            for path in source.extra_paths() {
                by_path.entry(path.to_owned()).or_insert(at);
            }
        }
        Self { list, by_path }
    }

    /// The source that listens on this path.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Arc<Source>> {
        self.by_path.get(path).and_then(|at| self.list.get(*at))
    }

    /// The source with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<Source>> {
        self.list.iter().find(|source| source.name().as_str() == name)
    }

    /// Every source, in the config's order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.list.iter()
    }
}
