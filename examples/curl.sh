#!/bin/sh
# One event by HTTP, to every endpoint of a customer. 201 means: it is stored and will be delivered.
# The defaults fit examples/demo.yaml; `make demo KEEP=1` prints the address of its gateway.
set -eu

curl --fail-with-body --silent --show-error \
    "${LONGSHORE_URL:-http://127.0.0.1:8080}/api/v1/projects/${PROJECT:-01JD00000000000000000DEM00}/events/fanout" \
    -H "Authorization: Bearer ${API_KEY:-CO.demodemodemodemo.0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}" \
    -H "Content-Type: application/json" \
    -d '{"owner_id": "customer-1", "event_type": "order.created", "data": {"order": 4711, "total": 250}}'
echo
