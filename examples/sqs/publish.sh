#!/bin/sh
# The same as publish.mjs with nothing but curl (7.75 or later), which signs the requests itself.
set -eu

: "${AWS_ACCESS_KEY_ID:?}" "${AWS_SECRET_ACCESS_KEY:?}"
region="${AWS_REGION:-us-east-1}"
# call ACTION BODY
call() {
    # The credentials on standard input: arguments can be read by everybody on the machine.
    printf 'user = "%s:%s"\n' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" |
        curl --fail-with-body --silent --show-error --config - --aws-sigv4 "aws:amz:$region:sqs" \
            "${AWS_ENDPOINT_URL_SQS:-https://sqs.$region.amazonaws.com}/" \
            -H 'Content-Type: application/x-amz-json-1.0' -H "X-Amz-Target: AmazonSQS.$1" -d "$2"
}
queue="$(call CreateQueue "{\"QueueName\": \"${QUEUE:-longshore-demo}\"}" | sed 's/.*"QueueUrl" *: *"\([^"]*\)".*/\1/')"
message='{"id": "'"$(date +%s)-$$"'", "type": "order.created", "customer": {"id": "customer-1"}, "order": {"number": 4711, "total": 250}}'
call SendMessage "{\"QueueUrl\": \"$queue\", \"MessageBody\": \"$(printf '%s' "$message" | sed 's/"/\\"/g')\"}"
echo
