use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

fn environment() -> Environment {
    Environment::new([
        ("x", Type::Int),
        ("s", Type::String),
        ("d", Type::Dyn),
        ("l", Type::list(Type::Int)),
        ("m", Type::map(Type::String, Type::String)),
    ])
}

fn values() -> [(&'static str, Value); 5] {
    [
        ("x", Value::Int(5)),
        ("s", Value::string("héllo")),
        ("d", Value::from_json(&json!({"a": {"b": [1, 2.5, "three"]}, "n": null, "spec": {"replicas": 3}}))),
        ("l", Value::list(vec![Value::Int(1), Value::Int(2), Value::Int(3)])),
        ("m", Value::map([("k".to_owned(), Value::string("v"))])),
    ]
}

fn run(text: &str) -> Result<Json, String> {
    let program = Program::compile(text, &environment().extended(Extension::Devices))?;
    let (outcome, _) = program.run(&values(), PER_CALL_LIMIT);
    outcome.map_err(|error| error.to_string())?.to_json().map_err(|error| error.to_string())
}

#[test]
fn expressions_come_to_what_the_language_says() {
    let yes = [
        "1 + 2 * 3 == 7 && -x == -5 && 7 / 2 == 3 && 7 % 4 == 3 && 2.0 < 3 && 1u < 2",
        "'a' + 'b' == 'ab' && b'ab' == bytes('ab') && r'\\d' == '\\\\d' && '\\u00e9' == 'é'",
        "x > 3 ? true : 1 / 0 == 0",
        "true || 1 / 0 == 0",
        "1 / 0 == 0 || true",
        "!(false && 1 / 0 == 0) && !!true",
        "d.a.b[0] == 1 && d.a.b[2] == 'three' && d.spec.replicas <= 5 && d.n == null",
        "has(d.a) && !has(d.z) && has(d.a.b)",
        "l.all(i, i > 0) && l.exists(i, i == 2) && l.exists_one(i, i == 3) && l.existsOne(i, i == 3)",
        "l.map(i, i * 2) == [2, 4, 6] && l.map(i, i > 1, i * 2) == [4, 6] && l.filter(i, i < 3) == [1, 2]",
        "[1, 0].exists(i, 1 / i == 1) && ![0, 1].all(i, 1 / i == 2)",
        "m.all(k, m[k] == 'v') && 'k' in m && !('z' in m) && 2 in l && m.k == 'v'",
        "l.all(i, v, i + 1 == v) && l.transformList(i, v, i * v) == [0, 2, 6]",
        "m.transformMap(k, v, k + v) == {'k': 'kv'} && [1, 2].transformMapEntry(i, v, {v: i}) == {1: 0, 2: 1}",
        "m.exists(k, v, k == 'k' && v == 'v') && l.transformList(i, v, v > 1, v) == [2, 3]",
        "size(s) == 5 && s.size() == 5 && size(l) == 3 && size({'a': 1}) == 1 && size(b'abc') == 3",
        "s.startsWith('h') && s.endsWith('o') && s.contains('éll') && s.matches('^h.l+o$')",
        "s.charAt(1) == 'é' && s.indexOf('l') == 2 && s.lastIndexOf('l') == 3 && s.substring(1, 3) == 'él'",
        "'Ab'.lowerAscii() == 'ab' && 'Ab'.upperAscii() == 'AB' && ' a '.trim() == 'a' && 'aXbX'.replace('X', '-') == 'a-b-'",
        "'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c'] && ['a', 'b'].join('-') == 'a-b'",
        "'abcabc'.lastIndexOf('abc', 3) == 3 && 'abcabc'.indexOf('c', 3) == 5 && strings.quote('a\"b') == '\"a\\\\\"b\"'",
        "'%s is %d, %.2f, %x, %b, %e'.format([dyn('a'), 7, 1.5, 255, 5, 1500.0]) == 'a is 7, 1.50, ff, 101, 1.500000e+03'",
        "'%s'.format([[dyn(1), 'a', {'k': 2}]]) == '[1, \"a\", {\"k\":2}]'",
        "[1, 2].isSorted() && [1, 2].sum() == 3 && [3, 1].max() == 3 && [3, 1].min() == 1 && [1, 2].indexOf(2) == 1",
        "[3, 1, 2].sort() == [1, 2, 3] && ['aa', 'b'].sortBy(e, size(e)) == ['b', 'aa'] && [1, 1, 2].distinct() == [1, 2]",
        "[[1], [2]].flatten() == [1, 2] && [1, 2, 3].slice(1, 3) == [2, 3] && lists.range(3) == [0, 1, 2] && [1, 2].reverse() == [2, 1]",
        "[1, 2].first() == optional.of(1) && [1, 2].last().value() == 2 && ![].first().hasValue()",
        "sets.contains([1, 2], [2]) && sets.equivalent([1, 1], [1]) && sets.intersects([1], [1, 2]) && !sets.contains([1], [2])",
        "'abc123'.find('[0-9]+') == '123' && 'a1b2'.findAll('[0-9]') == ['1', '2'] && 'a1b2'.findAll('[0-9]', 1) == ['1']",
        "url('https://example.com:80/path?a=1&a=2').getHost() == 'example.com:80' && isURL('https://a/b') && !isURL('b')",
        "url('https://[::1]:80/p a?k=v%20w').getHostname() == '::1' && url('https://a/p?k=v%20w').getQuery() == {'k': ['v w']}",
        "quantity('1Gi').isGreaterThan(quantity('500Mi')) && isQuantity('1.5') && quantity('1k').add(1).asInteger() == 1001",
        "quantity('2').sub(quantity('1')).compareTo(quantity('1')) == 0 && quantity('50m').asApproximateFloat() == 0.05",
        "isIP('::1') && ip('127.0.0.1').isLoopback() && ip('10.0.0.1').family() == 4 && !isIP('1.2.3') && ip.isCanonical('::1')",
        "cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && isCIDR('::/0')",
        "cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('10.0.0.0/8').ip() == ip('10.0.0.0') && string(ip('::1')) == '::1'",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && isSemver('1.0.0') && !isSemver('v1') && semver('v1.2', true).minor() == 2",
        "!format.dns1123Label().validate('a-b').hasValue() && format.dns1123Label().validate('A').hasValue()",
        "!format.named('uuid').value().validate('550e8400-e29b-41d4-a716-446655440000').hasValue() && !format.named('x').hasValue()",
        "duration('1h30m').getMinutes() == 90 && timestamp('2024-01-02T03:04:05Z').getFullYear() == 2024",
        "timestamp('2024-01-01T00:00:00Z') + duration('24h') == timestamp('2024-01-02T00:00:00Z')",
        "timestamp('2024-01-01T00:00:00Z').getHours('America/New_York') == 19 && string(duration('90s')) == '90s'",
        "int('5') == 5 && string(1.5) == '1.5' && double('2') == 2.0 && uint(3) == 3u && bool('true') && type(1) == int",
        "type(d.a.b[1]) == double && type('') == string && type([]) == list && type({}) == map && type(null) == null_type",
        "optional.of(1).orValue(2) == 1 && optional.none().orValue(2) == 2 && d.?z.orValue('x') == 'x' && d.?a.hasValue()",
        "m[?'k'].value() == 'v' && !l[?7].hasValue() && d.?a.?b[0].orValue(9) == 1 && [?optional.none(), ?optional.of(1)] == [1]",
        "{?'a': optional.none()} == {} && optional.of(1).optMap(v, v + 1).value() == 2 && optional.none().or(optional.of(3)).value() == 3",
        "cel.bind(y, x + 1, y * y) == 36 && [1, 2].includes(2) && 'a'.includes('a')",
        "dyn(x) == 5.0 && dyn(1) in [1.0] && {1: 'a'}[dyn(1u)] == 'a' && dyn(1) == 1u && dyn('a') != 1",
        "[1, 2, 3].map(v, v).filter(v, v > 1).exists(v, v == 3) // the end",
    ];
    for text in yes {
        assert_eq!(run(text), Ok(json!(true)), "of {text}");
    }
}

#[test]
fn what_goes_wrong_while_an_expression_runs_is_said() {
    for (text, said) in [
        ("1 / 0", "division by zero"),
        ("1 % 0", "modulus by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("l[7]", "index out of bounds: 7"),
        ("d.z", "no such key: z"),
        ("m['z']", "no such key: z"),
        ("d.a + 1", "no such overload"),
        ("int('a')", "type conversion error from 'string' to 'int'"),
        ("[].max()", "max called on empty list"),
        (
            "lists.range(1000).all(a, lists.range(1000).all(b, lists.range(10).all(c, a + b + c >= 0)))",
            "operation cancelled: actual cost limit exceeded",
        ),
    ] {
        assert_eq!(run(text), Err(said.to_owned()), "of {text}");
    }
}

#[test]
fn what_is_wrong_before_it_runs_is_shown_where_it_is() {
    const PRIMARIES: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
    for (text, said) in [
        ("y", "1:1: undeclared reference to 'y' (in container '')\n | y\n | ^".to_owned()),
        ("f(1)", "1:2: undeclared reference to 'f' (in container '')\n | f(1)\n | .^".into()),
        ("x == 'a'", "1:3: found no matching overload for '_==_' applied to '(int, string)'\n | x == 'a'\n | ..^".into()),
        ("s.size(1)", "1:7: found no matching overload for 'size' applied to 'string.(int)'\n | s.size(1)\n | ......^".into()),
        ("x.y", "1:2: type 'int' does not support field selection\n | x.y\n | .^".into()),
        ("x && true", "1:1: expected type 'bool' but found 'int'\n | x && true\n | ^".into()),
        ("[1, 'a']", "1:5: expected type 'int' but found 'string'\n | [1, 'a']\n | ....^".into()),
        ("x.all(i, true)", "1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)\n | x.all(i, true)\n | ^".into()),
        ("l.all(1, true)", "1:7: argument must be a simple name\n | l.all(1, true)\n | ......^".into()),
        ("has(x)", "1:5: invalid argument to has() macro\n | has(x)\n | ....^".into()),
        ("duration('1y')", "1:10: invalid duration argument\n | duration('1y')\n | .........^".into()),
        ("s.matches('(')", "1:11: invalid matches argument\n | s.matches('(')\n | ..........^".into()),
        ("s == 'é' + 1", "1:10: found no matching overload for '_+_' applied to '(string, int)'\n | s == 'é' + 1\n | ......．..^".into()),
        ("Bad Value!", "1:5: Syntax error: mismatched input 'Value' expecting <EOF>\n | Bad Value!\n | ....^".into()),
        ("x x", "1:3: Syntax error: extraneous input 'x' expecting <EOF>\n | x x\n | ..^".into()),
        ("(x", "1:3: Syntax error: missing ')' at '<EOF>'\n | (x\n | ..^".into()),
        ("1 +", format!("1:4: Syntax error: mismatched input '<EOF>' expecting {PRIMARIES}\n | 1 +\n | ...^")),
        ("", format!("1:0: Syntax error: mismatched input '<EOF>' expecting {PRIMARIES}")),
        ("x # 1", "1:3: Syntax error: token recognition error at: '#'\n | x # 1\n | ..^\nERROR: <input>:1:5: Syntax error: extraneous input '1' expecting <EOF>\n | x # 1\n | ....^".into()),
        ("true &&\n y", "2:2: undeclared reference to 'y' (in container '')\n |  y\n | .^".into()),
    ] {
        assert_eq!(Program::compile(text, &environment()).map(drop), Err(format!("ERROR: <input>:{said}")), "of {text}");
    }
    for deep in [
        "(".repeat(10_000),
        "[".repeat(10_000),
        format!("x{}", ".a".repeat(10_000)),
        format!("1{}", "+1".repeat(10_000)),
    ] {
        let said = Program::compile(&deep, &environment()).map(drop).unwrap_err();
        assert!(said.contains("recursion limit exceeded"), "{said}");
    }
    // As deep as may be: a thread's stack is enough to read, check and run it.
    let loops = format!("{}true{}", "[x].all(i, ".repeat(240), ")".repeat(240));
    assert_eq!(run(&loops), Ok(json!(true)));
    let lists = format!("{}x{}", "[".repeat(240), "]".repeat(240));
    assert!(run(&lists).is_ok());
    let sums = format!("x{} > 0", " + x".repeat(240));
    assert_eq!(run(&sums), Ok(json!(true)));
    let wide = vec!["x == 5"; 2000].join(" && ");
    assert_eq!(run(&wide), Ok(json!(true)));
}

#[test]
fn types_are_found_out() {
    for (text, kind) in [
        ("true", "bool"),
        ("d.x", "dyn"),
        ("[1, 2]", "list(int)"),
        ("{'a': [1u]}", "map(string, list(uint))"),
        ("l.map(i, string(i))", "list(string)"),
        ("m.map(k, m[k])", "list(string)"),
        ("optional.of(1)", "optional_type(int)"),
        ("x > 1 ? 'a' : 'b'", "string"),
        ("x > 1 ? d : 1", "dyn"),
        ("timestamp('2024-01-01T00:00:00Z') - timestamp('2024-01-01T00:00:00Z')", "duration"),
        ("type(1)", "type(int)"),
        ("[]", "list(dyn)"),
        ("null", "null"),
    ] {
        assert_eq!(Program::compile(text, &environment()).unwrap().kind().to_string(), kind, "of {text}");
    }
    let env = Environment::new([("object", Type::Dyn)]).extended(Extension::Mutation);
    let made = Program::compile("Object{metadata: Object.metadata{labels: {'a': 'b'}}}", &env).unwrap();
    assert_eq!(made.kind().to_string(), "Object");
    let patch = "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'c'}]";
    let (outcome, _) = Program::compile(patch, &env).unwrap().run(&[], PER_CALL_LIMIT);
    assert_eq!(
        outcome.unwrap().to_json().unwrap(),
        json!([{"op": "add", "path": "/metadata/labels/a~1b", "value": "c"}])
    );
    assert!(Program::compile("JSONPatch{nope: 1}", &env).unwrap_err().contains("undefined field 'nope'"));
    assert!(Program::compile("Object{}", &environment()).unwrap_err().contains("undeclared reference to 'Object'"));
}

#[test]
fn schemas_give_types_values_and_sizes() {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "maxLength": 5},
            "when": {"type": "string", "format": "date-time"},
            "for": {"type": "string", "format": "duration"},
            "a-b": {"type": "integer"},
            "either": {"x-kubernetes-int-or-string": true},
            "tags": {"type": "array", "x-kubernetes-list-type": "set", "maxItems": 4, "items": {"type": "string", "maxLength": 2}},
            "free": {"type": "array", "items": {"type": "string"}},
            "more": {"type": "object", "additionalProperties": {"type": "number"}}}}}});
    let decl = Decl::of_schema(&schema, true, "selfType").unwrap();
    let env = Environment::new([("self", decl.ty.clone())]);
    let object = json!({"metadata": {"name": "n"}, "spec": {"name": "abc", "when": "2024-01-01T00:00:00Z", "for": "1h",
        "a-b": 3, "either": "5%", "tags": ["x", "y"], "more": {"z": 1}}});
    let value = Value::typed(&object, &decl);
    for text in [
        "self.metadata.name == 'n' && self.spec.name.size() == 3",
        "self.spec.when < timestamp('2025-01-01T00:00:00Z') && self.spec.__for__ == duration('60m')",
        "self.spec.a__dash__b == 3 && self.spec.either == '5%' && !has(self.spec.free)",
        "self.spec.tags == ['y', 'x'] && self.spec.tags + ['x', 'z'] == ['x', 'y', 'z']",
        "self.spec.more['z'] == 1.0",
    ] {
        let (outcome, _) = Program::compile(text, &env).unwrap().run(&[("self", value.clone())], PER_CALL_LIMIT);
        assert!(outcome.unwrap().is_true(), "{text}");
    }
    assert!(
        Program::compile("self.spec.nope", &env)
            .unwrap_err()
            .starts_with("ERROR: <input>:1:10: undefined field 'nope'")
    );
    let cost = |text: &str| Program::compile(text, &env).unwrap().cost(&[("self", &decl)]);
    assert_eq!(cost("self.spec.a__dash__b > 1"), 4);
    assert_eq!(cost("self.spec.name.startsWith('abc')"), 4);
    assert_eq!(cost("self.spec.name == 'abc'"), 4);
    // Four elements, each: the loop's condition (2), the step's names (2) and comparison (1).
    assert_eq!(cost("self.spec.tags.all(t, t == 'a')"), 3 + 4 * 5 + 1);
    assert!(cost("self.spec.free.all(t, t == 'a')") > PER_CALL_LIMIT);
    assert!(cost("self.spec.free.all(t, self.spec.free.all(u, t != u))") > 100 * PER_CALL_LIMIT);
}

proptest! {
    #[test]
    fn nothing_breaks_the_reader(text in "[a-z0-9 .,?:!(){}\\[\\]'\"<>=&|+*/%é\n\\\\-]{0,60}") {
        if let Ok(program) = Program::compile(&text, &environment()) {
            let _ = program.run(&values(), PER_CALL_LIMIT);
        }
    }

    #[test]
    fn arithmetic_is_that_of_integers(a in any::<i64>(), b in any::<i64>()) {
        let env = Environment::new([("a", Type::Int), ("b", Type::Int)]);
        let given = [("a", Value::Int(a)), ("b", Value::Int(b))];
        for (operator, want) in [("+", a.checked_add(b)), ("-", a.checked_sub(b)), ("*", a.checked_mul(b)), ("/", a.checked_div(b)), ("%", a.checked_rem(b))] {
            let (outcome, _) = Program::compile(&format!("a {operator} b"), &env).unwrap().run(&given, PER_CALL_LIMIT);
            prop_assert_eq!(outcome.ok(), want.map(Value::Int));
        }
    }
}
