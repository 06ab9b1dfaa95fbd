use super::*;

/// A pod as a client would write it, with defaults, ready to be created.
fn pod(spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": "p", "namespace": "n", "labels": {"app": "web"}}, "spec": spec});
    crate::set_defaults("", "v1", "Pod", &mut pod);
    crate::prepare_for_create("", "Pod", &mut pod);
    pod
}

fn with_container(extra: Value) -> Value {
    let mut container = json!({"name": "c", "image": "i"});
    container.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!({"containers": [container]})
}

/// What is wrong, each as its field and its words, cut.
fn said(errors: &ErrorList) -> Vec<String> {
    errors.iter().map(|error| error.to_string().chars().take(110).collect()).collect()
}

fn wrong(spec: Value) -> Vec<String> {
    said(&crate::validate_create("", "Pod", &pod(spec)))
}

#[test]
fn a_pod_gets_what_a_client_leaves_out() {
    let cases = [
        ("/spec/restartPolicy", json!("Always")),
        ("/spec/dnsPolicy", json!("ClusterFirst")),
        ("/spec/enableServiceLinks", json!(true)),
        ("/spec/containers/0/imagePullPolicy", json!("Always")),
        ("/spec/containers/0/ports/0/protocol", json!("TCP")),
        ("/spec/containers/0/ports/0/hostPort", json!(80)),
        ("/spec/containers/0/resources/requests/cpu", json!("1")),
        ("/spec/containers/0/livenessProbe/periodSeconds", json!(10)),
        ("/spec/containers/0/livenessProbe/httpGet/scheme", json!("HTTP")),
        ("/spec/volumes/0/configMap/defaultMode", json!(420)),
        ("/spec/volumes/1/emptyDir", json!({})),
        ("/status/qosClass", json!("Burstable")),
    ];
    let container = json!({
        "ports": [{"containerPort": 80}],
        "resources": {"limits": {"cpu": "1"}},
        "livenessProbe": {"httpGet": {"port": 80}},
    });
    let mut spec = with_container(container);
    spec["hostNetwork"] = true.into();
    spec["volumes"] = json!([{"name": "a", "configMap": {"name": "c"}}, {"name": "b"}]);
    let object = pod(spec);
    for (place, value) in cases {
        assert_eq!(object.pointer(place), Some(&value), "{place}");
    }
    let mut again = object.clone();
    crate::set_defaults("", "v1", "Pod", &mut again);
    assert_eq!(object, again, "defaults do not change what is there");
}

#[test]
fn only_images_that_may_change_are_pulled_each_time() {
    for (image, policy) in [
        ("app", "Always"),
        ("app:latest", "Always"),
        ("registry:5000/app", "Always"),
        ("app:v1", "IfNotPresent"),
        ("registry:5000/app:v1", "IfNotPresent"),
        ("app@sha256:0", "IfNotPresent"),
        ("Not An Image!", "IfNotPresent"),
    ] {
        let object = pod(json!({"containers": [{"name": "c", "image": image}]}));
        assert_eq!(object["spec"]["containers"][0]["imagePullPolicy"], policy, "{image}");
    }
}

#[test]
fn what_is_wrong_is_said_in_kubernetes_words_and_order() {
    let cases = [
        (json!({}), vec!["spec.containers: Required value"]),
        (
            with_container(json!({"name": "", "image": ""})),
            vec!["spec.containers[0].name: Required value", "spec.containers[0].image: Required value"],
        ),
        (
            with_container(
                json!({"env": [{"name": "a", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]}),
            ),
            vec![
                "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.x\": error converting fieldPath: f",
                "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
            ],
        ),
        (
            with_container(json!({"volumeMounts": [{"name": "v", "mountPath": "/a"}]})),
            vec!["spec.containers[0].volumeMounts[0].name: Not found: \"v\""],
        ),
        (
            with_container(json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})),
            vec![
                "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            ],
        ),
        (
            with_container(json!({"readinessProbe": {"terminationGracePeriodSeconds": 1}})),
            vec![
                "spec.containers[0].readinessProbe: Required value: must specify a handler type",
                "spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for readine",
            ],
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(wrong(spec.clone()), expected, "{spec}");
    }
    let mut spec = with_container(json!({}));
    spec["tolerations"] = json!([{"tolerationSeconds": 1}]);
    spec["volumes"] = json!([{"name": "v", "emptyDir": {}, "hostPath": {"path": "/a"}}]);
    assert_eq!(
        wrong(spec),
        [
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
            "spec.tolerations[0].operator: Invalid value: \"\": operator must be Exists when `key` is empty, which means \"mat",
            "spec.tolerations[0].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set",
        ]
    );
}

#[test]
fn of_a_pod_that_exists_little_changes() {
    let old = pod(with_container(json!({})));
    let change = |change: fn(&mut Value), subresource: Option<&str>| {
        let mut new = old.clone();
        change(&mut new);
        crate::prepare_for_update("", "Pod", subresource, &mut new, &old);
        said(&crate::validate_update("", "Pod", subresource, &new, &old))
    };
    assert!(change(|pod| pod["spec"]["containers"][0]["image"] = "j".into(), None).is_empty());
    let errors = change(|pod| pod["spec"]["hostname"] = "h".into(), None);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with("spec: Forbidden: pod updates may not change fields other than"), "{errors:?}");
    let errors = change(|pod| pod["spec"]["containers"].as_array_mut().unwrap().clear(), None);
    assert_eq!(errors[1], "spec.containers: Forbidden: pod updates may not add or remove containers");
    // Through a subresource everything else stays as it is.
    let added = |pod: &mut Value| {
        pod["spec"]["hostname"] = "h".into();
        pod["spec"]["ephemeralContainers"] =
            json!([{"name": "d", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"}]);
    };
    assert!(change(added, Some("ephemeralcontainers")).is_empty());
    let resized = |pod: &mut Value| pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
    let errors = change(resized, Some("resize"));
    assert_eq!(errors, ["spec: Invalid value: \"BestEffort\": Pod QOS Class may not change as a result of resizing"]);
}

#[test]
fn a_container_that_has_ended_for_good_stays_so() {
    let mut spec = with_container(json!({}));
    spec["restartPolicy"] = "Never".into();
    let mut old = pod(spec);
    let status = |state: Value| json!({"qosClass": "BestEffort", "containerStatuses": [{"name": "c", "state": state}]});
    old["status"] = status(json!({"terminated": {"exitCode": 0}}));
    let mut new = old.clone();
    new["status"] = status(json!({"running": {}}));
    crate::prepare_for_update("", "Pod", Some("status"), &mut new, &old);
    let errors = said(&crate::validate_update("", "Pod", Some("status"), &new, &old));
    assert_eq!(
        errors,
        ["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"]
    );
}

#[test]
fn labels_asked_for_by_key_are_written_into_selectors() {
    let term = json!({"topologyKey": "zone", "labelSelector": {}, "matchLabelKeys": ["app", "none"]});
    let mut spec = with_container(json!({}));
    spec["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    let object = pod(spec);
    let place = "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/0/labelSelector";
    let expected = json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]});
    assert_eq!(object.pointer(place), Some(&expected));
}

#[test]
fn what_is_unwise_is_allowed_with_a_warning() {
    let mut spec =
        with_container(json!({"env": [{"name": "A"}, {"name": "A"}], "resources": {"limits": {"memory": "1m"}}}));
    spec["nodeSelector"] = json!({"beta.kubernetes.io/os": "linux"});
    let object = pod(spec);
    assert!(crate::validate_create("", "Pod", &object).is_empty());
    assert_eq!(
        crate::warnings("", "Pod", &object),
        [
            "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            "spec.containers[0].resources.limits[memory]: fractional byte value \"1m\" is invalid, must be an integer",
            "spec.containers[0].resources.requests[memory]: fractional byte value \"1m\" is invalid, must be an integer",
            "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
        ]
    );
}

proptest::proptest! {
    /// Whatever is where in a pod: it is refused or taken, and nothing breaks.
    #[test]
    fn no_shape_of_an_object_breaks_a_check(seed in proptest::collection::vec(0usize..1000, 1..6), value in 0usize..9) {
        let values = [json!(null), json!(0), json!(-1), json!("x"), json!([]), json!({}), json!([{}]), json!([1]), json!({"a": 1})];
        let full = json!({"containers": [{
            "name": "c", "image": "i", "ports": [{"containerPort": 1}], "env": [{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}],
            "resources": {"limits": {"cpu": "1"}}, "livenessProbe": {"exec": {"command": ["a"]}}, "volumeMounts": [{"name": "v", "mountPath": "/"}],
            "securityContext": {"capabilities": {"add": ["a"]}}, "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
        }], "volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "s", "items": [{"key": "k", "path": "p"}]}}]}}],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": []}]}}},
            "tolerations": [{"key": "a"}], "topologySpreadConstraints": [{"maxSkew": 1}], "dnsConfig": {"nameservers": ["1.1.1.1"]},
        });
        let old = pod(full.clone());
        let mut object = json!({"metadata": {"name": "p"}, "spec": full, "status": {"containerStatuses": [{"name": "c"}]}});
        let mut place = &mut object;
        for step in seed {
            let next = match &*place {
                Value::Object(fields) if !fields.is_empty() => fields.keys().nth(step % fields.len()).cloned(),
                Value::Array(items) if !items.is_empty() => Some((step % items.len()).to_string()),
                _ => None,
            };
            let Some(next) = next else { break };
            place = place.pointer_mut(&format!("/{}", next.replace('~', "~0").replace('/', "~1"))).unwrap();
        }
        *place = values[value].clone();
        crate::set_defaults("", "v1", "Pod", &mut object);
        let mut created = object.clone();
        if created.is_object() {
            crate::prepare_for_create("", "Pod", &mut created);
        }
        crate::validate_create("", "Pod", &created);
        crate::warnings("", "Pod", &created);
        for subresource in [None, Some("status"), Some("resize"), Some("ephemeralcontainers")] {
            let mut new = object.clone();
            crate::prepare_for_update("", "Pod", subresource, &mut new, &old);
            crate::validate_update("", "Pod", subresource, &new, &old);
        }
    }
}
