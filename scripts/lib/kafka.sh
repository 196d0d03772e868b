# shellcheck shell=bash
# A private Kafka server below $DIR/kafka.

kafka_given() {
    [ -n "${LONGSHORE_TEST_KAFKA_BROKERS:-}" ]
}

kafka_given_env() {
    printf 'export LONGSHORE_TEST_KAFKA_BROKERS=%q\n' "$LONGSHORE_TEST_KAFKA_BROKERS"
}

kafka_up() {
    die "no Kafka server yet"
}

kafka_start() {
    die "no Kafka server yet"
}

kafka_stop() {
    :
}

kafka_env() {
    :
}
