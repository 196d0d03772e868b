# One event through Pub/Sub, to every endpoint of a customer: pip install google-cloud-pubsub; python3 examples/pubsub/publish.py
import json, os
from google.api_core.exceptions import AlreadyExists
from google.cloud import pubsub

# PUBSUB_EMULATOR_HOST names an emulator; without it the machine's own Google credentials are used.
project, name = os.environ.get("PUBSUB_PROJECT", "longshore-demo"), os.environ.get("SUBSCRIPTION", "longshore-demo")
with pubsub.SubscriberClient() as subscriber:
    publisher = pubsub.PublisherClient()
    topic, subscription = publisher.topic_path(project, name), subscriber.subscription_path(project, name)
    # Longshore reads subscriptions and makes none.
    for create in (lambda: publisher.create_topic(name=topic), lambda: subscriber.create_subscription(name=subscription, topic=topic)):
        try:
            create()
        except AlreadyExists:
            pass
event = {"owner_id": "customer-1", "event_type": "order.created", "data": {"order": 4711, "total": 250}}
# Attributes are to Pub/Sub what headers are elsewhere. The result is there when the service has the message.
publisher.publish(topic, json.dumps(event).encode(), **{"x-convoy-message-type": "fanout"}).result(timeout=30)
