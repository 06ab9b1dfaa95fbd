//! LimitRanges.

use crate::kind::Kind;

pub(crate) struct LimitRange;

impl Kind for LimitRange {}
