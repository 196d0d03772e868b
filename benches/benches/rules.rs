//! What the pure rules cost for one event of 1 KB: filter, signatures, compaction of the body.

#![expect(clippy::unwrap_used, reason = "a bench whose fixed input is wrong has no better answer")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use longshore_benches::payload;
use longshore_core::filter::{Filter, Semantics};
use longshore_core::signature::{self, Encoding, Hash, SigningKey};
use longshore_core::{Timestamp, json};
use longshore_pipeline::ingest::decode_envelope;
use serde_json::{Value, json};

fn filter(c: &mut Criterion) {
    let data = json!({
        "total": 250, "currency": "EUR", "customer": { "country": "DE", "tags": ["new", "b2b"] },
        "lines": [{ "sku": "A-1", "count": 2 }, { "sku": "B-2", "count": 1 }],
    });
    let text = data.to_string();
    let filters = [
        ("equality", json!({ "currency": "EUR" })),
        ("range", json!({ "total": { "$gte": 100, "$lt": 1000 } })),
        ("nested_any", json!({ "lines.$.sku": { "$in": ["X-9", "B-2"] }, "customer.country": "DE" })),
        ("regex", json!({ "currency": { "$regex": "^E" } })),
    ];
    let mut group = c.benchmark_group("filter");
    group.bench_function("parse_body", |b| b.iter(|| json::parse(black_box(text.as_bytes()))));
    for (name, document) in filters {
        let filter = Filter::parse(&document).unwrap();
        assert!(filter.matches(&data, Semantics::Strict), "{name}");
        group.bench_function(name, |b| b.iter(|| filter.matches(black_box(&data), Semantics::Strict)));
    }
    group.finish();
}

fn sign(c: &mut Criterion) {
    let body = payload::envelope("01JD0000000000000000000000", 1);
    let at = Timestamp::from_secs(1_800_000_000);
    let symmetric = SigningKey::parse("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=").unwrap();
    let asymmetric = SigningKey::parse("whsk_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=").unwrap();
    let mut group = c.benchmark_group("sign");
    group.throughput(Throughput::Bytes(body.len() as u64));
    for (name, key) in [("standard_hmac", &symmetric), ("standard_ed25519", &asymmetric)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                signature::standard([key].into_iter(), "01JD0000000000000000000000", at, black_box(&body))
            });
        });
    }
    group.bench_function("contract_advanced", |b| {
        let keys = || [&symmetric].into_iter();
        b.iter(|| signature::advanced(keys(), Hash::Sha256, Encoding::Hex, at, black_box(&body)));
    });
    group.finish();
}

fn decode(c: &mut Criterion) {
    let compact = Bytes::from(payload::envelope("01JD0000000000000000000000", 1));
    let parsed: Value = serde_json::from_slice(&compact).unwrap();
    let pretty = Bytes::from(serde_json::to_vec_pretty(&parsed).unwrap());
    assert!(decode_envelope(&compact).is_some());
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Bytes(compact.len() as u64));
    group.bench_function("envelope", |b| b.iter(|| decode_envelope(black_box(&compact))));
    group.finish();
    let mut group = c.benchmark_group("compact");
    for (name, text) in [("already_compact", compact), ("pretty", pretty)] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| b.iter(|| json::compact(black_box(text.clone()))));
    }
    group.finish();
}

criterion_group!(benches, filter, sign, decode);
criterion_main!(benches);
