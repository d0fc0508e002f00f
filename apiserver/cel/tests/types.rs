//! What is accepted where it is written, and what is refused in which words: upstream's.

use api_cel::{Environment, Expected, Expression, Old, Type, of_schema};
use serde_json::{Value, json};

fn why(text: &str, environment: &Environment, expected: Expected) -> Option<String> {
    Expression::checked(text, environment, expected).err()
}

/// A value with a field of every kind.
fn schema() -> Value {
    let string = json!({"type": "string"});
    let condition = json!({"type": "object", "properties": {"type": string, "status": string,
        "lastTransitionTime": {"type": "string", "format": "date-time"}, "observedGeneration": {"type": "integer"}}});
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "name": string, "namespace": string, "min-replicas": {"type": "integer"}, "replicas": {"type": "integer"},
            "maxReplicas": {"type": "integer"}, "ratio": {"type": "number"}, "paused": {"type": "boolean"},
            "period": {"type": "string", "format": "duration"}, "since": {"type": "string", "format": "date-time"},
            "data": {"type": "string", "format": "byte"}, "memory": string, "schedule": string,
            "port": {"x-kubernetes-int-or-string": true}, "names": {"type": "array", "items": string},
            "numbers": {"type": "array", "items": {"type": "integer"}},
            "labels": {"type": "object", "additionalProperties": string},
            "groups": {"type": "object", "additionalProperties": {"type": "array", "items": string}},
            "template": {"type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true},
            "unknown": {"x-kubernetes-preserve-unknown-fields": true},
            "servers": {"type": "array", "items": {"type": "object", "properties": {
                "host": string, "port": {"type": "integer"}, "weight": {"type": "number"}}}},
        }},
        "status": {"type": "object", "properties": {"conditions": {"type": "array", "items": condition},
            "replicas": {"type": "integer"}}},
    }})
}

fn rule() -> Environment {
    Environment::rule(&of_schema(&schema(), true, &mut 100).expect("a type"), Old::Needed)
}

#[test]
fn rules_are_accepted() {
    let environment = rule();
    for text in [
        "true",
        "self.spec.replicas <= self.spec.maxReplicas && self.spec.min__dash__replicas >= 1",
        "self.spec.replicas < self.spec.ratio && self.spec.ratio > 1 && 1u < self.spec.replicas",
        "self.metadata.name.startsWith('a') && self.metadata.generateName == '' && self.kind == 'X'",
        "self.apiVersion == 'v1' && has(self.spec) && !has(self.status)",
        "has(self.spec.name) ? self.spec.name == self.spec.__namespace__ : self.spec.paused",
        "has(self.spec.namespace) && self.spec.namespace == self.spec.__namespace__",
        "self.spec.names.all(n, n.matches('^a+$')) && self.spec.names.exists(n, n == 'x')",
        "self.spec.names.exists_one(n, n == 'x') && self.spec.names.map(n, size(n)).sum() > 3",
        "self.spec.names.map(n, n != '', n + 'x').filter(n, n in ['a', 'b']).size() == 2",
        "self.spec.names == oldSelf.spec.names || self.spec.names.isSorted() && self.spec.names.max() > 'a'",
        "self.spec.names[0] == 'a' && self.spec.numbers[0] > 1 && self.spec.labels['a'] == self.spec.labels.b",
        "'a' in self.spec.labels && self.spec.labels.all(key, self.spec.labels[key].startsWith('x'))",
        "self.spec.labels.all(key, value, key != value) && self.spec.names.exists(i, n, i > 0 && n == 'a')",
        "self.spec.labels.existsOne(key, value, key == value) && self.spec.names.exists_one(i, n, i == 0)",
        "self.spec.labels.transformList(key, value, key + value).join(',') != ''",
        "self.spec.labels.transformList(key, value, key != 'a', size(value)).sum() > 1",
        "self.spec.labels.transformMap(key, value, value + 'x').all(k, v, k != v)",
        "self.spec.labels.transformMapEntry(key, value, {value: size(key)}).all(k, v, v > 0 && k != '')",
        "self.spec.names.transformMap(i, n, i > 0, n).all(i, n, i > 0 && n != '')",
        "self.spec.servers.all(s, s.port > 0 && s.weight <= 1.0 && s.host.lowerAscii() == s.host)",
        "self.spec.servers.all(a, self.spec.servers.exists_one(b, a == b))",
        "self.spec.servers.map(s, s.port).sum() < 100 && self.spec.servers.sortBy(s, s.host)[0].port == 1",
        "self.status.conditions.all(c, c.type == 'A' || c.lastTransitionTime > timestamp('2020-01-01T00:00:00Z'))",
        "self.spec.port == 1 || self.spec.port == 'http' || type(self.spec.port) == string",
        "type(self.spec.port) == int ? self.spec.port < 5 : double(self.spec.port.replace('%', '')) < 0.5",
        "self.spec.period > duration('1m') && self.spec.period.getSeconds() < 90 && -self.spec.period < duration('0s')",
        "self.spec.since + self.spec.period < timestamp('2030-01-01T00:00:00Z')",
        "self.spec.since.getFullYear() > 2000 && self.spec.since - timestamp('2000-01-01T00:00:00Z') > duration('1h')",
        "self.spec.since.getHours('Europe/Berlin') < 12 && type(self.spec.since) == google.protobuf.Timestamp",
        "self.spec.data == b'abc' && size(self.spec.data) == 3 && string(self.spec.data) == 'abc'",
        "quantity(self.spec.memory).isGreaterThan(quantity('1Gi')) && isQuantity(self.spec.memory)",
        "quantity(self.spec.memory).add(quantity('1')).sub(2).asInteger() > 1 && sign(quantity('-1')) == -1",
        "url(self.spec.name).getHost() == 'a' && isURL(self.spec.name) && url('a://b').getQuery()['x'] == ['y']",
        "isIP(self.spec.name) && ip(self.spec.name).family() == 4 && ip.isCanonical(self.spec.name)",
        "cidr('10.0.0.0/8').containsIP(self.spec.name) && cidr('10.0.0.0/8').containsCIDR(cidr('10.0.0.0/9'))",
        "cidr('10.0.0.0/8').ip() == ip('10.0.0.0') && string(ip('::1')) == '::1' && type(ip('::1')) == net.IP",
        "semver('1.2.3').isLessThan(semver('v1.3', true)) && semver(self.spec.name).major() == 1",
        "!format.dns1123Label().validate(self.spec.name).hasValue()",
        "format.named('dns1123Label').value().validate(self.spec.name).orValue([]).size() == 0",
        "self.spec.name.find('[0-9]+') == '1' && self.spec.name.findAll('[0-9]').size() == 1",
        "self.spec.name.split('-').join('/').substring(1, 3).trim().charAt(0).upperAscii() == 'A'",
        "'%s has %d of %.2f'.format([self.spec.name, self.spec.replicas, self.spec.ratio]) != ''",
        "sets.contains(self.spec.names, ['a']) && sets.intersects(self.spec.numbers, [1])",
        "self.spec.names.indexOf('a') == 0 && self.spec.name.indexOf('a', 1) == 1 && self.spec.names.distinct() == []",
        "[[1], [2]].flatten() == lists.range(2) && [3, 1].sort().reverse().slice(0, 1) == [3]",
        "self.spec.names.first().hasValue() && self.spec.names.last().orValue('') == ''",
        "self.spec.?name.orValue('') == '' && self.spec.?labels[?'a'].hasValue()",
        "self.?spec.?replicas.optMap(r, r > 1).orValue(true)",
        "self.spec.names[?0].optMap(n, n.startsWith('a')).orValue(false)",
        "self.spec.names[?0].optFlatMap(n, optional.of(n + 'x')).value() == 'ax'",
        "optional.of(1).or(optional.none()).value() == 1 && [?optional.of('a'), 'b'].size() == 2",
        "{?'a': self.spec.?name, 'b': 'c'}.size() == 1 && optional.ofNonZeroValue('').hasValue()",
        "self.spec.template.metadata.name != '' && self.spec.template.kind == 'Pod'",
        "self.spec.groups.all(g, self.spec.groups[g].all(n, n != '')) && size(self.spec.groups) < 3",
        "self.spec.names + ['a'] != [] && {} != self.spec.labels && self.spec.labels == {'a': 'b'}",
        "dyn(self.spec.replicas) == 'a' || dyn([1, 2])[0] == 1 && [dyn(1), dyn('a')].size() == 2",
        "int(self.spec.ratio) % 2 == 0 && string(self.spec.replicas) + 'a' == '' && bool('true')",
        "self.spec.replicas in [1, 2, 3] && !(self.spec.name in ['a', 'b']) && -self.spec.replicas < 0",
        "self.spec.period == null || self.spec.since != null || self.metadata == null",
        "self.spec.names.size() > 0 ? self.spec.names[0] == oldSelf.spec.names[0] : true",
        "[1, 2].map(x, [x]).filter(x, x.size() > 0) == [[1]] && [].all(x, x > 1) && [[], [1]].size() == 2",
    ] {
        assert_eq!(why(text, &environment, Expected::Bool), None, "{text}");
    }
    for text in [
        "'must be at most ' + string(self.spec.replicas)",
        "self.spec.paused ? 'a' : self.spec.name",
        "'%s'.format([dyn(self.spec.port)])",
        "self.spec.names.join()",
    ] {
        assert_eq!(why(text, &environment, Expected::String), None, "{text}");
    }
}

#[test]
fn what_was_optional_before() {
    let environment = Environment::rule(&of_schema(&schema(), true, &mut 100).expect("a type"), Old::Optional);
    for text in [
        "oldSelf.hasValue() || self.spec.replicas > 1",
        "!oldSelf.hasValue() || oldSelf.value().spec.replicas == self.spec.replicas",
        "oldSelf.spec.replicas.orValue(1) == 1 && oldSelf.optMap(o, o.spec.paused).orValue(false)",
    ] {
        assert_eq!(why(text, &environment, Expected::Bool), None, "{text}");
    }
    let found = why("oldSelf.spec.x.hasValue()", &environment, Expected::Bool).unwrap_or_default();
    assert!(found.contains("undefined field 'x'"), "{found}");
}

/// A message at a place of an expression of one line.
fn told(text: &str, all: &[(usize, &str)]) -> String {
    let shown = |(column, message): &(usize, &str)| {
        let marks = ".".repeat(column - 1);
        format!("ERROR: <input>:1:{column}: {message}\n | {text}\n | {marks}^")
    };
    format!("compilation failed: {}", all.iter().map(shown).collect::<Vec<_>>().join("\n"))
}

#[test]
fn rules_are_refused() {
    let (environment, mut others) = (rule(), Vec::new());
    for (text, wanted) in [
        ("self.spec.name > 1", &[(16, "found no matching overload for '_>_' applied to '(string, int)'")][..]),
        ("x", &[(1, "undeclared reference to 'x' (in container '')")]),
        ("1 + x", &[(5, "undeclared reference to 'x' (in container '')")]),
        ("self.x == self.spec.y", &[(5, "undefined field 'x'"), (20, "undefined field 'y'")]),
        ("has(self.spec.x)", &[(4, "undefined field 'x'")]),
        ("self.spec.?x.hasValue()", &[(10, "undefined field 'x'")]),
        ("fun()", &[(4, "undeclared reference to 'fun' (in container '')")]),
        ("'string'.fun()", &[(13, "undeclared reference to 'fun' (in container '')")]),
        ("NotAMessage{}", &[(12, "undeclared reference to 'NotAMessage' (in container '')")]),
        ("int{}", &[(4, "'int' is not a message type")]),
        ("[].length", &[(3, "type 'list(_var0)' does not support field selection")]),
        ("self.spec.name.x", &[(15, "type 'string' does not support field selection")]),
        (
            "self.spec.paused.all(y, y == true)",
            &[(10, "expression of type 'bool' cannot be range of a comprehension (must be list, map, or dynamic)")],
        ),
        (
            "[].map(x, [].map(y, x in y && y in x))",
            &[(33, "found no matching overload for '@in' applied to '(list(dyn), dyn)'")],
        ),
        ("self.spec.numbers.exists(y, y > 10) && y < 5", &[(40, "undeclared reference to 'y' (in container '')")]),
        ("self.spec.names.all(n, n)", &[(24, "expected type 'bool' but found 'string'")]),
        (
            "self.spec.names.filter(n, 1) == []",
            &[(23, "found no matching overload for '_?_:_' applied to '(int, list(string), list(string))'")],
        ),
        (
            "1 && self.spec.name",
            &[(1, "expected type 'bool' but found 'int'"), (15, "expected type 'bool' but found 'string'")],
        ),
        ("!self.spec.name", &[(1, "found no matching overload for '!_' applied to '(string)'")]),
        ("self.spec.replicas != null", &[(20, "found no matching overload for '_!=_' applied to '(int, null)'")]),
        ("self.spec.names == null", &[(17, "found no matching overload for '_==_' applied to '(list(string), null)'")]),
        (
            "self.spec.names[1u] == ''",
            &[(16, "found no matching overload for '_[_]' applied to '(list(string), uint)'")],
        ),
        (
            "self.spec.labels[2] == ''",
            &[(17, "found no matching overload for '_[_]' applied to '(map(string, string), int)'")],
        ),
        (
            "self.spec.name.startsWith(1)",
            &[(26, "found no matching overload for 'startsWith' applied to 'string.(int)'")],
        ),
        ("size(self.spec.replicas) > 1", &[(5, "found no matching overload for 'size' applied to '(int)'")]),
        (
            "self.spec.since > self.spec.period",
            &[(17, "found no matching overload for '_>_' applied to '(timestamp, duration)'")],
        ),
        ("quantity('1') > 1", &[(15, "found no matching overload for '_>_' applied to '(kubernetes.Quantity, int)'")]),
        ("quantity('1').x", &[(14, "unexpected failed resolution of 'kubernetes.Quantity'")]),
        ("ip('::1').x", &[(10, "type 'net.IP' does not support field selection")]),
        ("[self.spec.name, 1].size() == 2", &[(18, "expected type 'string' but found 'int'")]),
        ("[1, self.spec.port].size() == 2", &[(14, "expected type 'int' but found 'dyn'")]),
        ("{'a': 'b', 1: '!'}.size() == 1", &[(12, "expected type 'string' but found 'int'")]),
        ("[1.0, -5].size() == 2", &[(7, "expected type 'double' but found 'int'")]),
        ("[?self.spec.name] == []", &[(12, "expected type 'optional_type(string)' but found 'string'")]),
        (
            "self.spec.name ? true : false",
            &[(16, "found no matching overload for '_?_:_' applied to '(string, bool, bool)'")],
        ),
        ("true ? 1 : 'a'", &[(6, "found no matching overload for '_?_:_' applied to '(bool, int, string)'")]),
        ("self.spec.names.all(i, i, true)", &[(24, "duplicate variable name: i")]),
        ("self.spec.names.all(i, 1, true)", &[(24, "argument must be a simple name")]),
        ("self.spec.?name.optMap('a', true).hasValue()", &[(24, "optMap() variable name must be a simple identifier")]),
        (
            "self.spec.names.exists(i, n, i == n)",
            &[(32, "found no matching overload for '_==_' applied to '(int, string)'")],
        ),
        (
            "math.greatest(1, 2) > 1",
            &[
                (1, "undeclared reference to 'math' (in container '')"),
                (14, "undeclared reference to 'greatest' (in container '')"),
            ],
        ),
        ("self.spec.unknown.x == 1", &[(10, "undefined field 'unknown'")]),
        ("self.spec.period > duration('1d')", &[(29, "invalid duration argument")]),
        ("self.spec.since > timestamp('2020-02-30T00:00:00Z')", &[(29, "invalid timestamp argument")]),
        ("if + x == 1", &[(1, "reserved identifier: if")]),
        ("type(self.spec.port) == dyn", &[(25, "undeclared reference to 'dyn' (in container '')")]),
        (
            "authorizer.path('/').check('get').allowed()",
            &[(1, "undeclared reference to 'authorizer' (in container '')")],
        ),
        (
            "self.spec.replicas == 'a' // 'x' > 1",
            &[(20, "found no matching overload for '_==_' applied to '(int, string)'")],
        ),
    ] {
        let found = why(text, &environment, Expected::Bool).unwrap_or_default();
        if found != told(text, wanted) {
            others.push(found);
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
    let several = "self.spec.replicas > 1 &&\n\t'é' == self.spec.replicas";
    assert_eq!(
        why(several, &environment, Expected::Bool).as_deref(),
        Some(
            "compilation failed: ERROR: <input>:2:6: found no matching overload for '_==_' applied to '(string, int)'\n \
             |  'é' == self.spec.replicas\n | ..\u{ff0e}..^"
        )
    );
    let found = why("self > 1", &environment, Expected::Bool).unwrap_or_default();
    assert!(found.contains("'_>_' applied to '(selfType0, int)'"), "{found}");
    let found = why("self.spec.servers[0] == 1", &environment, Expected::Bool).unwrap_or_default();
    assert!(found.contains("'_==_' applied to '(selfType0.spec.servers.@idx, int)'"), "{found}");
}

#[test]
fn so_much_is_told_and_no_more() {
    let text = vec!["a"; 130].join(" + ");
    let found = why(&text, &Environment::default(), Expected::Anything).unwrap_or_default();
    assert_eq!(found.matches("undeclared reference to 'a'").count(), 100);
    assert!(found.ends_with("\n30 more errors were truncated"), "{}", &found[found.len() - 60..]);
}

#[test]
fn results_are_of_a_type() {
    use Expected::{Anything, Bool, BoolAlone, BoolOrUnknown, Configuration, Patches, String, StringOrNull};
    let environment = Environment::admission().with_params().with_patches();
    for (text, expected, wanted) in [
        ("1", Bool, "must evaluate to bool but got int"),
        ("[true]", Bool, "must evaluate to bool but got list(bool)"),
        ("[]", Bool, "must evaluate to bool but got list(dyn)"),
        ("object.x['y'].z", Bool, "must evaluate to bool but got dyn"),
        ("object.x['y']", Bool, "must evaluate to bool but got dyn"),
        ("object.x.map(y, {'a': [y]})", Bool, "must evaluate to bool but got list(map(string, list(dyn)))"),
        ("timestamp('2020-01-01T00:00:00Z')", Bool, "must evaluate to bool but got google.protobuf.Timestamp"),
        ("request.kind", Bool, "must evaluate to bool but got kubernetes.GroupVersionKind"),
        ("authorizer.requestResource", Bool, "must evaluate to bool but got kubernetes.authorization.ResourceCheck"),
        ("type(1)", Bool, "must evaluate to bool but got type(int)"),
        ("optional.none()", Bool, "must evaluate to bool but got optional_type(dyn)"),
        ("1", BoolAlone, "must evaluate to bool"),
        ("'a'", BoolOrUnknown, "must evaluate to bool or the unknown type, not string"),
        ("object.x == 1", String, "must evaluate to string but got bool"),
        ("object.x ? 'a' : 'b'", Bool, "must evaluate to bool but got string"),
        ("null", String, "must evaluate to string but got null_type"),
        ("1", StringOrNull, "must evaluate to one of [string null_type] but got int"),
        ("object.x ? 'a' : null", StringOrNull, "'_?_:_' applied to '(dyn, string, null)'"),
        ("'a'", Patches, "must evaluate to list(JSONPatch) but got string"),
        ("{}", Configuration, "must evaluate to Object but got map(dyn, dyn)"),
    ] {
        let found = why(text, &environment, expected).unwrap_or_default();
        let is_part = wanted.starts_with('\'') && found.contains(wanted);
        assert!(found == wanted || is_part, "{text}: {found:?}");
    }
    for (text, expected) in [
        ("'a'", String),
        ("'a' + object.x", String),
        ("null", StringOrNull),
        ("'a'", StringOrNull),
        ("{'a': 1}", Anything),
        ("[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('b/c'), value: {'a': object.x}}]", Patches),
        ("object.x ? [JSONPatch{op: 'remove', path: '/a', from: ''}] : []", Patches),
        ("[JSONPatch{op: 'test', path: '/a', value: 1}, JSONPatch{op: 'add', path: '/a', value: 'x'}]", Patches),
        ("[]", Patches),
        (
            "Object{spec: Object.spec{replicas: object.spec.replicas + 1, list: [Object.spec.list.item{a: 'b'}]}}",
            Configuration,
        ),
        ("Object{metadata: Object.metadata{labels: {'a': 'b'}}}", Configuration),
    ] {
        assert_eq!(why(text, &environment, expected), None, "{text}");
    }
    for (text, wanted) in [
        (
            "[JSONPatch{op: 1, path: '/a'}]",
            told(
                "[JSONPatch{op: 1, path: '/a'}]",
                &[(14, "expected type of field 'op' is 'string' but provided type is 'int'")],
            ),
        ),
        ("[JSONPatch{ip: 'a'}]", told("[JSONPatch{ip: 'a'}]", &[(14, "undefined field 'ip'")])),
    ] {
        assert_eq!(why(text, &environment, Patches), Some(wanted), "{text}");
    }
}

#[test]
fn every_place_has_its_variables() {
    let variables = [("small".to_owned(), Type::Bool), ("names".to_owned(), Type::list(Type::String))];
    let admission = || Environment::admission();
    for (environment, text) in [
        (admission(), "object == null || oldObject == null || object.foo == oldObject.foo"),
        (admission(), "object.spec.containers.all(c, c.image.startsWith('a/') && has(c.resources.limits))"),
        (admission(), "object.metadata.?labels[?'a'].orValue('') in ['x', 'y'] && object.spec.replicas <= 5"),
        (admission(), "request.kind.group == 'a' && request.resource.resource == 'pods' && request.dryRun"),
        (admission(), "request.userInfo.groups.exists(g, g == 'a') && 'b' in request.userInfo.extra['k']"),
        (admission(), "request.options.fieldManager == 'x' && request.operation in ['CREATE', 'UPDATE']"),
        (admission(), "namespaceObject.metadata.labels['a'] == 'b' && namespaceObject.status.phase == 'Active'"),
        (admission(), "type(namespaceObject.metadata.creationTimestamp) == google.protobuf.Timestamp"),
        (
            admission(),
            "authorizer.group('apps').resource('deployments').namespace('x').name('y').check('get').allowed()",
        ),
        (
            admission(),
            "authorizer.group('').resource('pods').fieldSelector('a=b').labelSelector('c').check('list').reason() == ''",
        ),
        (
            admission(),
            "authorizer.path('/healthz').check('get').allowed() || authorizer.requestResource.check('x').errored()",
        ),
        (admission(), "authorizer.serviceAccount('a', 'b').path('/x').check('get').error() == ''"),
        (admission().with_params(), "object.x < params.x && params != null"),
        (admission().with_variables(variables.clone()), "variables.small && variables.names.all(n, n != '')"),
        (Environment::device(), "device.driver == 'x' && device.allowMultipleAllocations"),
        (Environment::device(), "device.attributes['x'].model == 'a' && device.attributes['x'].size > 1"),
        (
            Environment::device(),
            "device.capacity['x'].memory.compareTo(quantity('1Gi')) >= 0 && 'x' in device.attributes",
        ),
        (Environment::device(), "device.attributes['x'].version.isGreaterThan(semver('1.0.0'))"),
        (Environment::device(), "cel.bind(x, device.attributes['x'], x.a && x.b == 'c')"),
        (
            Environment::device(),
            "device.attributes['x'].names.exists(n, n == 'a') && device.attributes['x'].n.includes(1)",
        ),
        (
            Environment::claims(),
            "claims.exp - claims.nbf <= 86400 && 'dev' in claims.groups && claims.a.b.startsWith('c')",
        ),
        (Environment::claims(), "has(claims.x) ? claims.x == 'y' : true"),
        (Environment::user(), "!user.username.startsWith('system:') && user.groups.all(g, g != 'x')"),
        (Environment::user(), "user.extra['a/b'][0] == 'c' && user.uid != ''"),
        (Environment::access_review(), "has(request.resourceAttributes) && request.resourceAttributes.verb == 'get'"),
        (Environment::access_review(), "!('x' in request.groups) && request.nonResourceAttributes.path == '/x'"),
        (
            Environment::access_review(),
            "request.resourceAttributes.fieldSelector.requirements.exists(r, 'n' in r.values)",
        ),
        (Environment::access_review(), "request.?resourceAttributes.?labelSelector.?rawSelector.orValue('') == ''"),
    ] {
        assert_eq!(why(text, &environment, Expected::Bool), None, "{text}");
    }
    for (environment, text, wanted) in [
        (admission(), "params.x", "undeclared reference to 'params'"),
        (admission(), "variables.x", "undeclared reference to 'variables'"),
        (admission().with_variables(variables.clone()), "variables.x", "undefined field 'x'"),
        (admission().with_variables(variables), "variables.names == 1", "applied to '(list(string), int)'"),
        (
            admission().without_authorizer(),
            "authorizer.requestResource.check('x').allowed()",
            "undeclared reference to 'authorizer'",
        ),
        (admission(), "request.foo == 'a'", "undefined field 'foo'"),
        (admission(), "request.userInfo.foo == 'a'", "undefined field 'foo'"),
        (admission(), "namespaceObject.spec.foo == 'a'", "undefined field 'foo'"),
        (
            admission(),
            "authorizer.check('x')",
            "found no matching overload for 'check' applied to 'kubernetes.authorization.Authorizer.(string)'",
        ),
        (admission(), "[JSONPatch{}] == []", "undeclared reference to 'JSONPatch'"),
        (admission(), "object.x.includes(1)", "undeclared reference to 'includes'"),
        (admission(), "cel.bind(x, 1, x > 0)", "undeclared reference to 'bind'"),
        (Environment::device(), "device.foo", "undefined field 'foo'"),
        (Environment::device(), "device.attributes == 1", "'(map(string, map(string, any)), int)'"),
        (Environment::device(), "device.driver", "must evaluate to bool but got string"),
        (Environment::claims(), "user.username == ''", "undeclared reference to 'user'"),
        (Environment::user(), "user.username > 1", "found no matching overload for '_>_' applied to '(string, int)'"),
        (Environment::access_review(), "request.user.startsWith(1)", "applied to 'string.(int)'"),
        (Environment::access_review(), "request.userInfo", "undefined field 'userInfo'"),
    ] {
        let found = why(text, &environment, Expected::Bool).unwrap_or_default();
        assert!(found.contains(wanted), "{text}: {found:?}");
    }
}

#[test]
fn variables_pass_on_their_types() {
    let kind = |text: &str| {
        let compiled = Expression::checked(text, &Environment::admission(), Expected::Anything).expect("good");
        compiled.kind().of_variable().to_string()
    };
    for (text, wanted) in [
        ("object.spec", "dyn"),
        ("1 + 2", "int"),
        ("request.userInfo.groups.map(g, size(g))", "list(int)"),
        ("{'a': request.kind}", "map(string, dyn)"),
        ("optional.of(1)", "dyn"),
        ("null", "null_type"),
        ("quantity('1')", "dyn"),
        ("namespaceObject.metadata.labels", "map(string, string)"),
    ] {
        assert_eq!(kind(text), wanted, "{text}");
    }
}

/// Types that double at every step end neither the time nor the memory.
#[test]
fn types_stay_small() {
    let doubled = format!("[1]{}", ".map(x, {x: x})".repeat(60));
    let free = format!("[[]]{}.size() == 1", ".map(x, [x] + [x])".repeat(60));
    let optional = format!("optional.of(y){}.hasValue()", ".optMap(x, x)".repeat(60));
    assert_eq!(why(&doubled, &Environment::default(), Expected::Anything), None);
    assert_eq!(why(&free, &Environment::default(), Expected::Bool), None);
    assert!(why(&optional, &Environment::default(), Expected::Bool).is_some_and(|why| why.contains("'y'")));
}
