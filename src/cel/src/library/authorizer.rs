//! Asking whether somebody may do something.

use std::{fmt, sync::Arc};

use apimachinery::names;

use super::{Outcome, fail, no_overload};
use crate::{
    functions::Declaration,
    value::{Opaque, Value},
};

pub(super) const FUNCTIONS: &[Declaration] = &[
    ("path", path, &["kubernetes.authorization.Authorizer.(string) kubernetes.authorization.PathCheck"]),
    ("group", group, &["kubernetes.authorization.Authorizer.(string) kubernetes.authorization.GroupCheck"]),
    (
        "serviceAccount",
        service_account,
        &["kubernetes.authorization.Authorizer.(string, string) kubernetes.authorization.Authorizer"],
    ),
    ("resource", resource, &["kubernetes.authorization.GroupCheck.(string) kubernetes.authorization.ResourceCheck"]),
    ("subresource", |args| set(args, |asked, text| asked.subresource = text), OF_RESOURCE),
    ("namespace", |args| set(args, |asked, text| asked.namespace = text), OF_RESOURCE),
    ("name", |args| set(args, |asked, text| asked.name = text), OF_RESOURCE),
    ("fieldSelector", |args| set(args, |asked, text| asked.field_selector = text), OF_RESOURCE),
    ("labelSelector", |args| set(args, |asked, text| asked.label_selector = text), OF_RESOURCE),
    (
        "check",
        check,
        &[
            "kubernetes.authorization.PathCheck.(string) kubernetes.authorization.Decision",
            "kubernetes.authorization.ResourceCheck.(string) kubernetes.authorization.Decision",
        ],
    ),
    (
        "allowed",
        |args| decision(args, |given| Value::Bool(given.allowed)),
        &["kubernetes.authorization.Decision.() bool"],
    ),
    (
        "reason",
        |args| decision(args, |given| Value::string(&given.reason)),
        &["kubernetes.authorization.Decision.() string"],
    ),
    (
        "errored",
        |args| decision(args, |given| Value::Bool(!given.error.is_empty())),
        &["kubernetes.authorization.Decision.() bool"],
    ),
    (
        "error",
        |args| decision(args, |given| Value::string(&given.error)),
        &["kubernetes.authorization.Decision.() string"],
    ),
];

const OF_RESOURCE: &[&str] =
    &["kubernetes.authorization.ResourceCheck.(string) kubernetes.authorization.ResourceCheck"];

/// Who knows whether something is allowed.
pub trait Authorizer: Send + Sync {
    /// Whether the request's user, or a service account (namespace and name), may do something.
    fn authorize(&self, account: Option<(&str, &str)>, asked: &Asked) -> Decision;
}

/// What is to be allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// The verb.
    pub verb: String,
    /// A path that is no resource's; empty for a resource.
    pub path: String,
    /// API group.
    pub group: String,
    /// The resource.
    pub resource: String,
    /// A part of it.
    pub subresource: String,
    /// Where.
    pub namespace: String,
    /// Which.
    pub name: String,
    /// Of which fields, as a selector.
    pub field_selector: String,
    /// Of which labels, as a selector.
    pub label_selector: String,
}

/// Whether it is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// It is.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong; empty when nothing did.
    pub error: String,
}

/// A question on its way to an answer.
#[derive(Clone)]
pub struct Check {
    authorizer: Arc<dyn Authorizer>,
    account: Option<(String, String)>,
    stage: Stage,
}

#[derive(Debug, Clone)]
enum Stage {
    Authorizer,
    Path(String),
    Group(String),
    Resource(Box<Asked>),
    Decision(Decision),
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.stage)
    }
}

impl Check {
    pub(crate) fn type_name(&self) -> &'static str {
        match self.stage {
            Stage::Authorizer => "kubernetes.authorization.Authorizer",
            Stage::Path(_) => "kubernetes.authorization.PathCheck",
            Stage::Group(_) => "kubernetes.authorization.GroupCheck",
            Stage::Resource(_) => "kubernetes.authorization.ResourceCheck",
            Stage::Decision(_) => "kubernetes.authorization.Decision",
        }
    }

    fn at(&self, stage: Stage) -> Outcome {
        Ok(Opaque::Authorizer(Self { stage, ..self.clone() }).into())
    }
}

impl Value {
    /// `authorizer`: asks about the user of the request.
    pub fn authorizer(authorizer: Arc<dyn Authorizer>) -> Self {
        Opaque::Authorizer(Check { authorizer, account: None, stage: Stage::Authorizer }).into()
    }

    /// `authorizer.requestResource`: asks about what the request is about.
    pub fn resource_check(authorizer: Arc<dyn Authorizer>, asked: Asked) -> Self {
        Opaque::Authorizer(Check { authorizer, account: None, stage: Stage::Resource(Box::new(asked)) }).into()
    }
}

fn given(args: &[Value]) -> Option<(&Check, Option<&str>)> {
    match args.first() {
        Some(Value::Opaque(opaque)) => match &**opaque {
            Opaque::Authorizer(check) => Some((check, args.get(1).and_then(Value::as_str))),
            _ => None,
        },
        _ => None,
    }
}

fn path(args: &[Value]) -> Outcome {
    match given(args) {
        Some((_, Some(path))) if path.trim().is_empty() => fail("path must not be empty"),
        Some((check @ Check { stage: Stage::Authorizer, .. }, Some(path))) => check.at(Stage::Path(path.to_owned())),
        _ => no_overload(),
    }
}

fn group(args: &[Value]) -> Outcome {
    match given(args) {
        Some((check @ Check { stage: Stage::Authorizer, .. }, Some(group))) => check.at(Stage::Group(group.to_owned())),
        _ => no_overload(),
    }
}

fn service_account(args: &[Value]) -> Outcome {
    let (Some((check @ Check { stage: Stage::Authorizer, .. }, Some(namespace))), Some(name)) =
        (given(args), args.get(2).and_then(Value::as_str))
    else {
        return no_overload();
    };
    if !names::is_dns1123_subdomain(name).is_empty() {
        return fail("Invalid service account name");
    }
    if !names::is_dns1123_label(namespace).is_empty() {
        return fail("Invalid service account namespace");
    }
    let account = Some((namespace.to_owned(), name.to_owned()));
    Ok(Opaque::Authorizer(Check { account, ..check.clone() }).into())
}

fn resource(args: &[Value]) -> Outcome {
    match given(args) {
        Some((_, Some(resource))) if resource.trim().is_empty() => fail("resource must not be empty"),
        Some((check @ Check { stage: Stage::Group(group), .. }, Some(resource))) => {
            let asked = Asked { group: group.clone(), resource: resource.to_owned(), ..Asked::default() };
            check.at(Stage::Resource(Box::new(asked)))
        }
        _ => no_overload(),
    }
}

fn set(args: &[Value], put: fn(&mut Asked, String)) -> Outcome {
    match given(args) {
        Some((check @ Check { stage: Stage::Resource(asked), .. }, Some(text))) => {
            let mut asked = asked.clone();
            put(&mut asked, text.to_owned());
            check.at(Stage::Resource(asked))
        }
        _ => no_overload(),
    }
}

fn check(args: &[Value]) -> Outcome {
    let Some((check, Some(verb))) = given(args) else { return no_overload() };
    let asked = match &check.stage {
        Stage::Path(path) => Asked { verb: verb.to_owned(), path: path.clone(), ..Asked::default() },
        Stage::Resource(asked) => Asked { verb: verb.to_owned(), ..(**asked).clone() },
        _ => return no_overload(),
    };
    let account = check.account.as_ref().map(|(namespace, name)| (namespace.as_str(), name.as_str()));
    check.at(Stage::Decision(check.authorizer.authorize(account, &asked)))
}

fn decision(args: &[Value], take: fn(&Decision) -> Value) -> Outcome {
    match given(args) {
        Some((Check { stage: Stage::Decision(decision), .. }, _)) => Ok(take(decision)),
        _ => no_overload(),
    }
}
