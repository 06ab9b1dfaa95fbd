//! ResourceQuotas.

use crate::kind::Kind;

pub(crate) struct ResourceQuota;

impl Kind for ResourceQuota {
    fn has_status(&self) -> bool {
        true
    }
}
