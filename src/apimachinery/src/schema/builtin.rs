//! The schemas of all built-in kinds: a table (`data/schemas.tsv`, written by `generate`) that is read once.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use super::{Field, Kind, Merge, Patch, Schema, Struct, StructRef, Union};

const TABLE: &str = include_str!("../../data/schemas.tsv");

const JSON_SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// All structures.
#[derive(Debug)]
struct Builtin {
    structs: Vec<Struct>,
    by_name: HashMap<&'static str, usize>,
    by_kind: HashMap<&'static str, usize>,
}

fn table() -> &'static Builtin {
    static BUILTIN: LazyLock<Builtin> = LazyLock::new(Builtin::read);
    &BUILTIN
}

/// The schema of the objects of a kind; `None` when the kind is not built in.
pub fn of(group: &str, version: &str, kind: &str) -> Option<Schema> {
    let at = *table().by_kind.get(format!("{group}/{version}/{kind}").as_str())?;
    Some(Schema::new(Kind::Struct(StructRef::Builtin(at)), self::at(at).go.clone()))
}

/// The schema of a type by its full name, as `io.k8s.api.core.v1.PodSpec`.
pub fn named(name: &str) -> Option<Schema> {
    let at = *table().by_name.get(name)?;
    Some(Schema::new(Kind::Struct(StructRef::Builtin(at)), self::at(at).go.clone()))
}

/// `group/version/kind` of a structure that is a kind; none for others.
pub fn kinds_of(structure: &Struct) -> Vec<&'static str> {
    let at = table().by_name.get(&*structure.name);
    let kinds = table().by_kind.iter().filter(|(_, kind)| Some(*kind) == at);
    let mut kinds: Vec<&str> = kinds.map(|(name, _)| *name).collect();
    kinds.sort_unstable();
    kinds
}

pub(super) fn at(at: usize) -> &'static Struct {
    &table().structs[at]
}

/// The structure of a JSON schema in a custom resource's definition.
pub(super) fn json_schema_props() -> &'static Struct {
    at(table().by_name[JSON_SCHEMA])
}

/// The schema of a JSON schema.
pub(super) fn json_schema() -> Schema {
    let at = table().by_name[JSON_SCHEMA];
    Schema::new(Kind::Struct(StructRef::Builtin(at)), self::at(at).go.clone())
}

impl Builtin {
    fn read() -> Self {
        let rows = || TABLE.lines().filter(|line| !line.starts_with('#'));
        let mut by_name = HashMap::new();
        let mut by_kind = HashMap::new();
        let mut atomic = HashMap::new();
        for (at, row) in rows().filter(|row| !row.starts_with('\t')).enumerate() {
            let mut cells = row.split('\t');
            let name = cells.next().unwrap_or_default();
            by_name.insert(name, at);
            by_kind.extend(
                cells.next().unwrap_or_default().split(',').filter(|kind| !kind.is_empty()).map(|kind| (kind, at)),
            );
            atomic.insert(name, cells.next() == Some("atomic"));
        }
        let mut builtin = Self { structs: Vec::with_capacity(by_name.len()), by_name, by_kind };
        let mut names = HashMap::new();
        for row in rows() {
            if let Some(row) = row.strip_prefix('\t') {
                let field = builtin.field(row, &atomic, &mut names);
                builtin.structs.last_mut().expect("the table begins with a structure").fields.push(field);
            } else {
                let name = row.split('\t').next().unwrap_or_default();
                builtin.structs.push(Struct {
                    name: name.into(),
                    go: go_name(name).into(),
                    fields: Vec::new(),
                    rest: None,
                    atomic: atomic[name],
                    keeps_unknown: false,
                });
            }
        }
        builtin
    }

    fn field(&self, row: &'static str, atomic: &HashMap<&str, bool>, names: &mut HashMap<String, Arc<str>>) -> Field {
        let cells: Vec<&str> = row.split('\t').collect();
        let cell = |at: usize| cells.get(at).copied().unwrap_or_default();
        let mut schema = self.schema(cell(1), names);
        schema.merge = match cell(4) {
            "" if matches!(&schema.kind, Kind::Struct(_)) && atomic.get(&cell(1)[1..]) == Some(&true) => Merge::Atomic,
            "" => Merge::Default,
            "set" => Merge::Set,
            keyed => match keyed.strip_prefix("map:") {
                None | Some("atomic") => Merge::Atomic,
                Some(keys) => Merge::Keyed(keys.split(',').map(Into::into).collect()),
            },
        };
        let (strategies, key) = cell(5).split_once(':').unwrap_or((cell(5), ""));
        Field {
            name: cell(0).into(),
            schema,
            pointer: cell(2).contains('p'),
            omit_empty: cell(2).contains('o'),
            omit_zero: cell(2).contains('z'),
            required: cell(2).contains('r'),
            via: cell(3).into(),
            patch: Patch {
                merges: strategies.split(',').any(|strategy| strategy == "merge"),
                retains_keys: strategies.contains("retainKeys"),
                key: (!key.is_empty()).then(|| key.into()),
            },
            default: serde_json::from_str(cell(6)).ok(),
        }
    }

    /// Reads a type as the table writes it.
    fn schema(&self, text: &str, names: &mut HashMap<String, Arc<str>>) -> Schema {
        let mut intern = |name: String| names.entry(name).or_insert_with_key(|name| name.as_str().into()).clone();
        if let Some(items) = text.strip_prefix("[]") {
            let items = self.schema(items, names);
            let go = format!("[]{}", items.go);
            return Schema::new(
                Kind::List(Arc::new(items)),
                names.entry(go).or_insert_with_key(|name| name.as_str().into()).clone(),
            );
        }
        if let Some((key, values)) = text.strip_prefix("map[").and_then(|rest| rest.split_once(']')) {
            let values = self.schema(values, names);
            let go = format!("map[{key}]{}", values.go);
            return Schema::new(
                Kind::Map(Arc::new(values)),
                names.entry(go).or_insert_with_key(|name| name.as_str().into()).clone(),
            );
        }
        if let Some(name) = text.strip_prefix('&') {
            let at = *self.by_name.get(name).expect("every structure that the table names stands in it");
            return Schema::new(Kind::Struct(StructRef::Builtin(at)), intern(go_name(name)));
        }
        let (name, underlying) = text.split_once('=').unwrap_or((text, text));
        let value = |kind: Kind, go: &str| (kind, go.to_owned());
        let (kind, go) = match underlying {
            "bool" => value(Kind::Bool, name),
            "int32" => value(Kind::Int(32), name),
            "int64" | "int" => value(Kind::Int(64), name),
            "float64" => value(Kind::Float, name),
            "string" => value(Kind::Text, name),
            "!Bytes" => value(Kind::Bytes, "[]uint8"),
            "!Quantity" => value(Kind::Quantity, "resource.Quantity"),
            "!IntOrString" => value(Kind::IntOrString, "intstr.IntOrString"),
            "!Time" => value(Kind::Time, "v1.Time"),
            "!MicroTime" => value(Kind::MicroTime, "v1.MicroTime"),
            "!RawExtension" => value(Kind::Any, "runtime.RawExtension"),
            "!FieldsV1" => value(Kind::Any, "v1.FieldsV1"),
            "!JSON" => value(Kind::Any, "v1.JSON"),
            "!JSONSchemaPropsOrBool" => value(Kind::Union(Union::Bool), "v1.JSONSchemaPropsOrBool"),
            "!JSONSchemaPropsOrArray" => value(Kind::Union(Union::Array), "v1.JSONSchemaPropsOrArray"),
            "!JSONSchemaPropsOrStringArray" => value(Kind::Union(Union::Texts), "v1.JSONSchemaPropsOrStringArray"),
            _ => {
                let inner = self.schema(underlying, names);
                return Schema { go: name.into(), ..inner };
            }
        };
        Schema::new(kind, intern(go))
    }
}

/// `io.k8s.api.core.v1.PodSpec` as Go names it: `v1.PodSpec`.
fn go_name(name: &str) -> String {
    let mut parts = name.rsplit('.');
    let last = parts.next().unwrap_or_default();
    format!("{}.{last}", parts.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Registry;

    #[test]
    fn every_kind_that_is_served_has_a_schema() {
        for info in Registry::builtin().resources() {
            assert!(of(&info.group, &info.version, &info.kind).is_some(), "{:?}", info.gvk());
        }
        assert!(of("", "v1", "Nothing").is_none());
    }

    #[test]
    fn a_schema_knows_types_and_merges_as_the_api_declares_them() {
        let pod = of("", "v1", "Pod").unwrap();
        let containers = pod.field("spec").unwrap().field("containers").unwrap();
        assert_eq!((&*containers.go, &containers.merge), ("[]v1.Container", &Merge::Keyed(["name".into()].into())));
        let container = containers.items().unwrap();
        let Kind::Struct(fields) = &container.kind else { panic!("a container is a structure") };
        let ports = fields.field("ports").unwrap();
        assert_eq!(ports.schema.merge, Merge::Keyed(["containerPort".into(), "protocol".into()].into()));
        assert_eq!(ports.patch, Patch { merges: true, retains_keys: false, key: Some("containerPort".into()) });
        let deployment = of("apps", "v1", "Deployment").unwrap();
        assert_eq!(deployment.field("spec").unwrap().field("selector").unwrap().merge, Merge::Atomic);
        let props = json_schema();
        assert!(
            matches!(props.field("properties").unwrap().field("x").unwrap().kind, Kind::Struct(_)),
            "schemas contain schemas"
        );
    }
}
