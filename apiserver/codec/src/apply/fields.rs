//! The fields of one manager, as they are stored until something asks what is in them: most writes touch the
//! fields of few managers, and change nothing in the sets of the others.

use api_machinery::Value;

use super::set::FieldSet;

#[derive(Clone, Debug)]
pub(crate) enum Fields {
    /// `fieldsV1` as this server wrote it.
    Written(Value),
    Set(FieldSet),
}

impl From<FieldSet> for Fields {
    fn from(set: FieldSet) -> Self {
        Self::Set(set)
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.set() == other.set()
    }
}

impl Fields {
    /// What is no field set is an empty one: it names no field.
    pub(crate) fn set(&self) -> FieldSet {
        match self {
            Self::Set(set) => set.clone(),
            Self::Written(written) => FieldSet::decode(written).unwrap_or_default(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Set(set) => set.is_empty(),
            Self::Written(written) => written.as_object().is_none_or(serde_json::Map::is_empty),
        }
    }

    /// Takes paths away, and answers those that were there.
    pub(crate) fn take(&mut self, paths: &FieldSet) -> FieldSet {
        if matches!(self, Self::Written(written) if !paths.meets(written)) {
            return FieldSet::default();
        }
        let set = self.set();
        let taken = set.intersection(paths);
        if !taken.is_empty() {
            *self = Self::Set(set.difference(&taken));
        }
        taken
    }

    pub(crate) fn add(&mut self, paths: FieldSet) {
        if matches!(self, Self::Written(written) if paths.is_within(written)) {
            return;
        }
        let mut set = self.set();
        set.absorb(paths);
        *self = Self::Set(set);
    }

    pub(crate) fn encode(&self) -> Value {
        match self {
            Self::Written(written) => written.clone(),
            Self::Set(set) => set.encode(),
        }
    }
}
