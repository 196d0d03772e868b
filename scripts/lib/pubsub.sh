# shellcheck shell=bash
# A private Pub/Sub server below $DIR/pubsub.

pubsub_given() {
    [ -n "${LONGSHORE_TEST_PUBSUB_ENDPOINT:-}" ]
}

pubsub_given_env() {
    printf 'export LONGSHORE_TEST_PUBSUB_ENDPOINT=%q\n' "$LONGSHORE_TEST_PUBSUB_ENDPOINT"
}

pubsub_up() {
    die "no Pub/Sub server yet"
}

pubsub_start() {
    die "no Pub/Sub server yet"
}

pubsub_stop() {
    :
}

pubsub_env() {
    :
}
