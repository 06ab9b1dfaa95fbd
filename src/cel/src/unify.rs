//! Finding out types that are not written down: which may stand for which, and what stands for the unknown ones.

use std::sync::Arc;

use crate::types::Type;

/// What is known of the unknown types.
#[derive(Debug, Default)]
pub(crate) struct Unknowns {
    found: Vec<Option<Type>>,
    /// What was there before, so that an attempt can be undone.
    trail: Vec<(u32, Option<Type>)>,
}

impl Unknowns {
    /// One more.
    pub(crate) fn fresh(&mut self) -> Type {
        let number = u32::try_from(self.found.len()).unwrap_or(u32::MAX);
        self.found.push(None);
        Type::Param(number)
    }

    fn find(&self, kind: &Type) -> Option<Type> {
        match kind {
            Type::Param(number) => self.found.get(*number as usize).cloned().flatten(),
            _ => None,
        }
    }

    fn set(&mut self, param: &Type, kind: Type) {
        if let Type::Param(number) = param
            && let Some(slot) = self.found.get_mut(*number as usize)
        {
            self.trail.push((*number, slot.replace(kind)));
        }
    }

    fn attempt(&mut self, does: impl FnOnce(&mut Self) -> bool) -> bool {
        let mark = self.trail.len();
        let fits = does(self);
        while !fits && self.trail.len() > mark {
            if let Some((number, before)) = self.trail.pop() {
                self.found[number as usize] = before;
            }
        }
        fits
    }

    /// Whether one may stand where the other is wanted; what follows from it is kept.
    pub(crate) fn assign(&mut self, one: &Type, other: &Type) -> bool {
        self.attempt(|unknowns| unknowns.fits(one, other))
    }

    /// The same of all, or of none.
    pub(crate) fn assign_all(&mut self, ones: &[Type], others: &[Type]) -> bool {
        ones.len() == others.len()
            && self.attempt(|unknowns| ones.iter().zip(others).all(|(one, other)| unknowns.fits(one, other)))
    }

    fn fits(&mut self, one: &Type, other: &Type) -> bool {
        if matches!(other, Type::Param(_)) {
            match self.may_be(one, other) {
                (true, _) => return true,
                (false, true) => return false,
                (false, false) => {}
            }
        }
        if matches!(one, Type::Param(_)) {
            return self.may_be(other, one).0;
        }
        if one.is_dyn_or_error() || other.is_dyn_or_error() {
            return true;
        }
        let nullable = |kind: &Type| {
            matches!(kind, Type::Null | Type::Opaque(..) | Type::Struct(_) | Type::Duration | Type::Timestamp)
        };
        match (one, other) {
            (Type::Null, other) => nullable(other),
            (one, Type::Null) => nullable(one),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(one), Type::List(other)) => self.fits(one, other),
            (Type::Map(key, value), Type::Map(other_key, other_value)) => {
                self.fits(key, other_key) && self.fits(value, other_value)
            }
            (Type::Opaque(one, params), Type::Opaque(other, others)) => {
                one == other
                    && params.len() == others.len()
                    && params.iter().zip(others.iter()).all(|(one, other)| self.fits(one, other))
            }
            (one, other) => one.is_exactly(other),
        }
    }

    /// Whether `param` may be `kind`, and whether it was found before.
    fn may_be(&mut self, kind: &Type, param: &Type) -> (bool, bool) {
        if kind.is_exactly(param) {
            return (true, true);
        }
        if let Some(found) = self.find(param) {
            if kind.is_exactly(&found) {
                return (true, true);
            }
            if !self.fits(kind, &found) {
                return (false, true);
            }
            let general = most_general(kind, &found);
            if self.is_free_of(param, &general) {
                self.set(param, general);
            }
            return (true, true);
        }
        if self.is_free_of(param, kind) {
            self.set(param, kind.clone());
            return (true, false);
        }
        (false, false)
    }

    /// Whether `param` does not occur within.
    fn is_free_of(&self, param: &Type, within: &Type) -> bool {
        if param.is_exactly(within) {
            return false;
        }
        match within {
            Type::Param(_) => self.find(within).is_none_or(|found| self.is_free_of(param, &found)),
            Type::List(of) | Type::Type(of) => self.is_free_of(param, of),
            Type::Map(key, value) => self.is_free_of(param, key) && self.is_free_of(param, value),
            Type::Opaque(_, params) => params.iter().all(|of| self.is_free_of(param, of)),
            _ => true,
        }
    }

    /// The type with what was found put in; `finally` makes what was not found anything.
    pub(crate) fn resolve(&self, kind: &Type, finally: bool) -> Type {
        match kind {
            Type::Param(_) => match self.find(kind) {
                Some(found) => self.resolve(&found, finally),
                None if finally => Type::Dyn,
                None => kind.clone(),
            },
            Type::List(of) => Type::List(Arc::new(self.resolve(of, finally))),
            Type::Type(of) => Type::Type(Arc::new(self.resolve(of, finally))),
            Type::Map(key, value) => {
                Type::Map(Arc::new(self.resolve(key, finally)), Arc::new(self.resolve(value, finally)))
            }
            Type::Opaque(name, params) if !params.is_empty() => {
                Type::Opaque(name.clone(), params.iter().map(|of| self.resolve(of, finally)).collect())
            }
            other => other.clone(),
        }
    }
}

/// The more general of two that fit.
pub(crate) fn most_general(one: &Type, other: &Type) -> Type {
    if is_no_more_special(one, other) { one.clone() } else { other.clone() }
}

fn is_no_more_special(one: &Type, other: &Type) -> bool {
    match (one, other) {
        (Type::Dyn | Type::Param(_), _) => true,
        (_, Type::Dyn | Type::Param(_)) => false,
        (Type::List(one), Type::List(other)) => is_no_more_special(one, other),
        (Type::Map(key, value), Type::Map(other_key, other_value)) => {
            is_no_more_special(key, other_key) && is_no_more_special(value, other_value)
        }
        (Type::Opaque(one, params), Type::Opaque(other, others)) => {
            one == other
                && params.len() == others.len()
                && params.iter().zip(others.iter()).all(|(one, other)| is_no_more_special(one, other))
        }
        (Type::Type(_), Type::Type(_)) => true,
        (one, other) => one.is_exactly(other),
    }
}
