use proptest::prelude::*;
use serde_json::json;

use super::*;

fn filter(document: &Value) -> Filter {
    Filter::parse(document).unwrap()
}

/// Each row: filter, document, whether it matches strictly, whether it matches in compat.
fn assert_rows(rows: Vec<(Value, Value, bool, bool)>) {
    for (written, document, strict, compat) in rows {
        let filter = filter(&written);
        assert_eq!(filter.matches(&document, Semantics::Strict), strict, "strict: {written} on {document}");
        assert_eq!(filter.matches(&document, Semantics::Compat), compat, "compat: {written} on {document}");
    }
}

#[test]
fn equality_compares_type_and_exact_value() {
    assert_rows(vec![
        (json!({"a": 1}), json!({"a": 1}), true, true),
        (json!({"a": 1}), json!({"a": 1.0}), true, true),
        (json!({"a": 1}), json!({"a": 2}), false, false),
        (json!({"a": 1}), json!({"a": "1"}), false, true),
        (json!({"a": "1"}), json!({"a": 1}), false, true),
        (json!({"a": "1e3"}), json!({"a": 1000}), false, true),
        (json!({"a": "inf"}), json!({"a": "inf"}), true, true),
        (json!({"a": "x"}), json!({"a": "X"}), false, false),
        (json!({"a": null}), json!({"a": null}), true, true),
        (json!({"a": null}), json!({}), false, false),
        (json!({"a": true}), json!({"a": true}), true, true),
        (json!({"a": true}), json!({"a": 1}), false, false),
        (json!({"a": [1, 2]}), json!({"a": [1, 2]}), true, false),
        (json!({"a": {"$eq": [1, 2]}}), json!({"a": [1.0, 2]}), true, true),
        (json!({"a": {"$eq": {"b": 1}}}), json!({"a": {"b": 1}}), true, false),
        (json!({"a": {"$neq": 1}}), json!({"a": 2}), true, true),
        (json!({"a": {"$neq": 1}}), json!({"a": "1"}), true, false),
        (json!({"a": {"$neq": 1}}), json!({"a": null}), true, true),
        (json!({"a": 9_007_199_254_740_993_i64}), json!({"a": 9_007_199_254_740_992_i64}), false, true),
        (json!({"a": 9_007_199_254_740_993_i64}), json!({"a": 9_007_199_254_740_992.0}), false, true),
        (json!({"a": u64::MAX}), json!({"a": u64::MAX}), true, true),
        (json!({"a": u64::MAX}), json!({"a": u64::MAX - 1}), false, true),
    ]);
}

#[test]
fn a_bare_value_is_also_a_member_of_a_list() {
    assert_rows(vec![
        (json!({"a": 1}), json!({"a": [3, 1]}), true, true),
        (json!({"a": 1}), json!({"a": ["1"]}), false, false),
        (json!({"a": "x"}), json!({"a": []}), false, false),
        (json!({"a": {"$eq": 1}}), json!({"a": [3, 1]}), false, false),
        (json!({"a": {"$neq": 1}}), json!({"a": [3, 1]}), true, true),
    ]);
}

#[test]
fn order_is_of_numbers_by_exact_value() {
    assert_rows(vec![
        (json!({"a": {"$gt": 1}}), json!({"a": 1}), false, false),
        (json!({"a": {"$gt": 1}}), json!({"a": 1.5}), true, true),
        (json!({"a": {"$gte": 1}}), json!({"a": 1.0}), true, true),
        (json!({"a": {"$gte": 1}}), json!({"a": 0}), false, false),
        (json!({"a": {"$lt": 1}}), json!({"a": 1}), false, false),
        (json!({"a": {"$lt": 1}}), json!({"a": -2}), true, true),
        (json!({"a": {"$lte": 1}}), json!({"a": 1}), true, true),
        (json!({"a": {"$lte": 1}}), json!({"a": 1.01}), false, false),
        (json!({"a": {"$gt": 1, "$lt": 5}}), json!({"a": 3}), true, true),
        (json!({"a": {"$gt": 1, "$lt": 5}}), json!({"a": 5}), false, false),
        (json!({"a": {"$gt": -1.5}}), json!({"a": -1}), true, true),
        (json!({"a": {"$lt": -1}}), json!({"a": -1.5}), true, true),
        (
            json!({"a": {"$gt": 9_007_199_254_740_992_i64}}),
            json!({"a": 9_007_199_254_740_993_i64}),
            true,
            false,
        ),
        (json!({"a": {"$lt": u64::MAX}}), json!({"a": 1e300}), false, false),
        (json!({"a": {"$gt": i64::MIN}}), json!({"a": -1e300}), false, false),
        // Other types: strings that spell numbers, then those that do not.
        (json!({"a": {"$gt": 1}}), json!({"a": "10"}), false, true),
        (json!({"a": {"$lte": 1}}), json!({"a": "1e3"}), false, false),
        (json!({"a": {"$gt": 1}}), json!({"a": "x"}), false, false),
        (json!({"a": {"$gte": 1}}), json!({"a": "x"}), false, false),
        (json!({"a": {"$lt": 1}}), json!({"a": "x"}), false, true),
        (json!({"a": {"$lt": 1}}), json!({"a": null}), false, true),
        (json!({"a": {"$lte": 1}}), json!({"a": "x"}), false, false),
    ]);
}

#[test]
fn a_value_can_be_sought_in_a_list() {
    assert_rows(vec![
        (json!({"a": {"$in": [1, "x"]}}), json!({"a": 1.0}), true, true),
        (json!({"a": {"$in": [1, "x"]}}), json!({"a": "x"}), true, true),
        (json!({"a": {"$in": [1, "x"]}}), json!({"a": "1"}), false, false),
        (json!({"a": {"$in": []}}), json!({"a": 1}), false, false),
        (json!({"a": {"$in": [1]}}), json!({"a": [1]}), false, false),
        (json!({"a": {"$in": [[1]]}}), json!({"a": [1]}), true, false),
        (json!({"a": {"$nin": [1]}}), json!({"a": 2}), true, true),
        (json!({"a": {"$nin": [1]}}), json!({"a": 1}), false, false),
        (json!({"a": {"$nin": [1]}}), json!({"a": [1]}), true, true),
    ]);
}

#[test]
fn a_pattern_is_searched_in_strings_only() {
    assert_rows(vec![
        (json!({"a": {"$regex": "b+"}}), json!({"a": "abba"}), true, true),
        (json!({"a": {"$regex": "^b"}}), json!({"a": "abba"}), false, false),
        (json!({"a": {"$regex": "(?i)^A"}}), json!({"a": "abba"}), true, true),
        (json!({"a": {"$regex": "1"}}), json!({"a": 1}), false, false),
        (json!({"a": {"$regex": ""}}), json!({"a": ["x"]}), false, false),
    ]);
}

#[test]
fn an_absent_key_is_a_mismatch_unless_compat_skips_it() {
    let present = json!({"b": 1});
    for test in [
        json!(1),
        json!({"$eq": 1}),
        json!({"$neq": 1}),
        json!({"$gt": 1}),
        json!({"$gte": 1}),
        json!({"$lt": 1}),
        json!({"$lte": 1}),
        json!({"$in": [1]}),
        json!({"$nin": [1]}),
        json!({"$regex": "x"}),
        json!({"$exist": true}),
    ] {
        assert_rows(vec![
            (json!({"a": test}), present.clone(), false, false),
            (json!({"a": test, "b": 1}), present.clone(), false, true),
            (json!({"a": test, "b": 2}), present.clone(), false, false),
            (json!({"a": test}), json!(null), false, false),
        ]);
    }
}

#[test]
fn existence_is_about_the_key() {
    assert_rows(vec![
        (json!({"a": {"$exist": true}}), json!({"a": null}), true, true),
        (json!({"a": {"$exist": true}}), json!({"a": []}), true, true),
        (json!({"a": {"$exist": true}}), json!({"a": {"b": 1}}), true, false),
        (json!({"a": {"$exist": false}}), json!({"a": null}), false, false),
        (json!({"a": {"$exist": false}}), json!({}), true, false),
        (json!({"a": {"$exist": false}, "b": 1}), json!({"b": 1}), true, true),
        (json!({"a": {"$exist": false}, "b": 1}), json!({"a": 0, "b": 1}), false, false),
        (json!({"a.$.b": {"$exist": false}}), json!({"a": [{"c": 1}]}), true, false),
        (json!({"a.$.b": {"$exist": false}}), json!({"a": [{"c": 1}, {"b": 1}]}), false, false),
        (json!({"a": {"$exist": true, "$gt": 1}}), json!({"a": 2}), true, true),
    ]);
}

#[test]
fn filters_can_be_joined() {
    let either = json!({"$or": [{"a": 1}, {"b": {"$gt": 5}, "c": true}]});
    assert_rows(vec![
        (either.clone(), json!({"a": 1}), true, true),
        (either.clone(), json!({"b": 6, "c": true}), true, true),
        (either.clone(), json!({"b": 6, "c": false}), false, false),
        (either, json!({}), false, false),
        (json!({"$and": [{"a": 1}, {"b": 2}]}), json!({"a": 1, "b": 2}), true, true),
        (json!({"$and": [{"a": 1}, {"b": 2}]}), json!({"a": 1}), false, false),
        (json!({"$or": [{"a": 1}, {"a": 2}], "b": 3}), json!({"a": 2, "b": 3}), true, true),
        (json!({"$or": [{"a": 1}, {"a": 2}], "b": 3}), json!({"a": 2, "b": 4}), false, false),
        (json!({"$and": [{"$or": [{"a": 1}, {"b": 1}]}, {"c": 1}]}), json!({"b": 1, "c": 1}), true, true),
        (json!({"$or": [{}]}), json!({"a": 1}), true, true),
    ]);
}

#[test]
fn dotted_paths_and_nested_objects_are_the_same() {
    for written in [json!({"a.b.c": 1}), json!({"a": {"b": {"c": 1}}}), json!({"a.b": {"c": {"$eq": 1}}})] {
        assert_rows(vec![
            (written.clone(), json!({"a": {"b": {"c": 1}}}), true, true),
            (written.clone(), json!({"a.b": {"c": 1}}), true, true),
            (written.clone(), json!({"a.b.c": 1}), true, true),
            (written.clone(), json!({"a": {"b.c": 1}}), true, true),
            (written.clone(), json!({"a": {"b": 1}}), false, false),
            (written.clone(), json!({"a": [{"b": {"c": 1}}]}), false, false),
        ]);
    }
}

#[test]
fn elements_are_named_by_index_or_any() {
    let orders = json!({"a": [{"b": 1, "c": 9}, {"b": 2, "c": 8}]});
    let nested = json!({"a": [{"b": [{"c": [{"d": 1}, {"d": 7}]}]}]});
    assert_rows(vec![
        (json!({"a.0.b": 1}), orders.clone(), true, true),
        (json!({"a.1.b": 1}), orders.clone(), false, false),
        (json!({"a.2.b": 1}), orders.clone(), false, false),
        (json!({"a.01.b": 2}), orders.clone(), false, false),
        (json!({"a.$.b": 2}), orders.clone(), true, true),
        (json!({"a": {"$": {"b": 2}}}), orders.clone(), true, true),
        (json!({"a": {"$.b": {"$gt": 1}}}), orders.clone(), true, true),
        (json!({"a.$.b": 3}), orders.clone(), false, false),
        (json!({"a.$.b": {"$neq": 2}}), orders.clone(), true, true),
        // All operators of one object are about the same element; separate paths need not be.
        (json!({"a.$.b": {"$gt": 1, "$lt": 2}}), orders.clone(), false, false),
        (json!({"a.$.b": 1, "a.$.c": 8}), orders.clone(), true, true),
        (json!({"a.$.b.$.c.$.d": 7}), nested.clone(), true, true),
        (json!({"a.$.b.0.c.$.d": 5}), nested, false, false),
        (json!({"$.x": 1}), json!([{"x": 0}, {"x": 1}]), true, true),
        (json!({"$.x": 1}), json!({"x": 1}), false, false),
        (json!({"0.x": 1}), json!([{"x": 1}]), true, true),
        // Unlike other absent keys, compat does not skip `$` without elements.
        (json!({"a.$.z": 1, "a.0.b": 1}), orders.clone(), false, false),
        (json!({"a.9.z": 1, "a.0.b": 1}), orders, false, true),
        (json!({"a.1": "y"}), json!({"a": ["x", "y"]}), true, false),
    ]);
}

#[test]
fn an_empty_filter_matches_everything() {
    assert_rows(vec![
        (json!({}), json!({}), true, true),
        (json!({}), json!(null), true, true),
        (json!({}), json!([1]), true, true),
    ]);
    assert!(FilterSet::default().is_empty());
    assert!(FilterSet::parse(Some(&json!({})), Some(&json!(null))).unwrap().is_empty());
    assert!(FilterSet::default().matches(&json!(1), &json!({}), Semantics::Strict));
}

#[test]
fn header_names_compare_without_case_unless_compat() {
    let set = FilterSet::parse(None, Some(&json!({"x-Region": "eu", "x.y": {"$regex": "^a"}}))).unwrap();
    let with = |name: &str| json!({name: "eu", "X.Y": "abc"});
    let exact = json!({"x-Region": "eu", "x.y": "abc"});

    assert!(set.matches(&json!({}), &with("X-REGION"), Semantics::Strict));
    assert!(!set.matches(&json!({}), &with("X-Zone"), Semantics::Strict));
    assert!(!set.matches(&json!({}), &with("X-REGION"), Semantics::Compat));
    assert!(set.matches(&json!({}), &exact, Semantics::Compat));
}

#[test]
fn both_scopes_must_match() {
    let set = FilterSet::parse(Some(&json!({"a": 1})), Some(&json!({"h": "x"}))).unwrap();
    let matches = |a: i32, h: &str| set.matches(&json!({"a": a}), &json!({"h": h}), Semantics::Strict);

    assert!(matches(1, "x"));
    assert!(!matches(2, "x"));
    assert!(!matches(1, "y"));
    assert!(!set.is_empty());
}

#[test]
fn a_filter_that_is_none_is_refused_with_advice() {
    let deep = (0..40).fold(json!(1), |inner, _| json!({"a": inner}));
    let rows = [
        (json!([]), "(top)", "an object of paths"),
        (json!({"$gt": 1}), "$gt", "needs a path"),
        (json!({"$foo": 1}), "$foo", "is not an operator"),
        (json!({"a": {"$foo": 1}}), "a.$foo", "$regex or $exist"),
        (json!({"a": {"$or": [{"b": 1}]}}), "a.$or", "beside paths"),
        (json!({"a": {"$gt": "10"}}), "a.$gt", "leave out the quotes"),
        (json!({"a": {"$lte": null}}), "a.$lte", "expected a number"),
        (json!({"a": {"$in": 1}}), "a.$in", "expected a list"),
        (json!({"a": {"$nin": "x"}}), "a.$nin", "expected a list"),
        (json!({"a": {"$regex": "("}}), "a.$regex", "unclosed group"),
        (json!({"a": {"$regex": 1}}), "a.$regex", "as a string"),
        (json!({"a": {"$regex": "\\w{1000}{1000}"}}), "a.$regex", "smaller repetitions"),
        (json!({"a": {"$exist": 1}}), "a.$exist", "true or false"),
        (json!({"a": {"$exist": false, "$eq": 1}}), "a", "never match"),
        (json!({"a": {"$gt": 1, "b": 2}}), "a", "mixed"),
        (json!({"a": {"b": {}}}), "a.b", "$exist"),
        (json!({"$or": {"a": 1}}), "$or", "list of filters"),
        (json!({"$and": []}), "$and", "list of filters"),
        (json!({"$or": [{"a": 1}, 2]}), "$or[1]", "an object of paths"),
        (json!({"$or": [{"$and": [{"x": {"$eqq": 1}}]}]}), "$or[0].$and[0].x.$eqq", "is not an operator"),
        (json!({"a.$": 1}), "a.$", "cannot end in `$`"),
        (json!({"a": {"$": 1}}), "a.$", "cannot end in `$`"),
        (json!({"a.$": {"$gt": 1}}), "a.$", "cannot end in `$`"),
        (json!({"a.$.b.$.c.$.d.$.e": 1}), "a.$.b.$.c.$.d.$.e", "more than 3 `$`"),
        (json!({"a..b": 1}), "a..b", "empty"),
        (json!({"": 1}), "", "empty"),
        (json!({"x".repeat(70_000): 1}), "(top)", "larger than"),
        (json!({"a": {"$in": vec![0; 3_000]}}), "(top)", "larger than"),
        (
            json!({"$or": vec![json!({"a": {"$regex": "x"}}); 33]}),
            "$or[32].a.$regex",
            "more than 32 patterns",
        ),
        (deep, "(top)", "nested deeper"),
    ];
    for (written, path, advice) in rows {
        let error = Filter::parse(&written).unwrap_err();
        assert_eq!(error.path, path, "{error}");
        assert!(error.problem.contains(advice), "{error}");
    }
    filter(&(0..30).fold(json!(1), |inner, _| json!({"a": inner})));
    filter(&json!({"a.$.b.$.c.$.d": 1}));
    assert_eq!(FilterSet::parse(None, Some(&json!({"a": {"$foo": 1}}))).unwrap_err().path, "headers.a.$foo");
    assert_eq!(FilterSet::parse(Some(&json!(1)), None).unwrap_err().path, "body");
}

/// JSON in which names of operators and of fields meet often.
fn json_document() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        prop::sample::select(vec![
            "a", "b", "a.b", "a.$.b", "$.a", "$", "0", "", "$eq", "$neq", "$gt", "$gte", "$lt", "$lte",
            "$in", "$nin", "$regex", "$exist", "$or", "$and", "$what",
        ])
        .prop_map(str::to_owned),
        ".{0,4}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-3_i64..3).prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
        "-?[0-9]{1,3}(e[0-9])?".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn arbitrary_json_does_not_panic(written in json_document(), document in json_document()) {
        if let Ok(filter) = Filter::parse(&written) {
            for semantics in [Semantics::Strict, Semantics::Compat] {
                let _ = filter.matches(&document, semantics);
                let _ = filter.matches_headers(&document, semantics);
            }
        }
    }

    #[test]
    fn order_operators_agree_with_each_other(a in -4_i64..4, halves in -8_i32..8) {
        let document = json!({"a": f64::from(halves) / 2.0});
        for semantics in [Semantics::Strict, Semantics::Compat] {
            let holds = |operator: &str| filter(&json!({"a": {operator: a}})).matches(&document, semantics);

            prop_assert_eq!(holds("$gt"), !holds("$lte"));
            prop_assert_eq!(holds("$lt"), !holds("$gte"));
            prop_assert_eq!(holds("$eq"), holds("$gte") && holds("$lte"));
            prop_assert_eq!(holds("$eq"), !holds("$neq"));
        }
    }

    #[test]
    fn a_document_matches_the_filter_of_its_own_scalars(value: i64, text in ".*") {
        let document = json!({"a": {"n": value, "t": text}});

        prop_assert!(filter(&document).matches(&document, Semantics::Strict));
        prop_assert!(filter(&document).matches(&document, Semantics::Compat));
    }
}
