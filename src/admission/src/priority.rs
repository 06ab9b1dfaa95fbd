//! `Priority`: the name of a pod's priority class becomes its number.

use apimachinery::status::Status;
use auth::ObjectReader;

use crate::{Request, text};

const GROUP: &str = "scheduling.k8s.io";

/// Resolves the priority of a new pod.
pub fn admit(request: &mut Request<'_>, reader: &dyn ObjectReader) -> Result<(), Status> {
    if !request.creates("pods") {
        return Ok(());
    }
    let Some(pod) = request.object.as_deref_mut().filter(|pod| pod["spec"].is_object()) else { return Ok(()) };
    let name = text(pod, "/spec/priorityClassName").to_owned();
    let class = if name.is_empty() {
        let mut classes = reader.list(GROUP, "priorityclasses", None);
        classes.retain(|class| class["globalDefault"] == true);
        classes.into_iter().min_by_key(|class| class["value"].as_i64())
    } else {
        let found = reader.get(GROUP, "priorityclasses", "", &name);
        if found.is_none() {
            return Err(request.forbidden(&format!("no PriorityClass with name {name} was found")));
        }
        found
    };
    let value = class.as_ref().and_then(|class| class["value"].as_i64()).unwrap_or(0);
    let given = pod["spec"]["priority"].as_i64();
    if given.is_some_and(|given| given != value) {
        let given = given.unwrap_or_default();
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        );
        return Err(request.forbidden(&why));
    }
    pod["spec"]["priority"] = value.into();
    if let Some(class) = &class {
        pod["spec"]["priorityClassName"] = class["metadata"]["name"].clone();
    }
    let policy = class.as_ref().map(|class| text(class, "/preemptionPolicy")).filter(|policy| !policy.is_empty());
    let policy = policy.unwrap_or("PreemptLowerPriority");
    let given = text(pod, "/spec/preemptionPolicy").to_owned();
    if !given.is_empty() && given != policy {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        );
        return Err(request.forbidden(&why));
    }
    pod["spec"]["preemptionPolicy"] = policy.into();
    Ok(())
}
