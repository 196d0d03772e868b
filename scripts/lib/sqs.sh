# shellcheck shell=bash
# A private SQS server below $DIR/sqs.

sqs_given() {
    [ -n "${LONGSHORE_TEST_SQS_ENDPOINT:-}" ]
}

sqs_given_env() {
    printf 'export LONGSHORE_TEST_SQS_ENDPOINT=%q\n' "$LONGSHORE_TEST_SQS_ENDPOINT"
}

sqs_up() {
    die "no SQS server yet"
}

sqs_start() {
    die "no SQS server yet"
}

sqs_stop() {
    :
}

sqs_env() {
    :
}
