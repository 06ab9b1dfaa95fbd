//! ControllerRevisions.

use crate::kind::Kind;

pub(crate) struct ControllerRevision;

impl Kind for ControllerRevision {}
