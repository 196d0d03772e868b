# One event through RabbitMQ, to every endpoint of a customer: pip install pika; python3 examples/rabbitmq/publish.py
import json, os, time, uuid
import pika

event = {"owner_id": "customer-1", "event_type": "order.created", "data": {"order": 4711, "total": 250}}
connection = pika.BlockingConnection(pika.URLParameters(os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f")))
channel = connection.channel()
channel.confirm_delivery()  # basic_publish returns when the broker has it on disk
# By `message_id` and `timestamp` a redelivered message is recognised: it makes no second event.
properties = pika.BasicProperties(delivery_mode=2, message_id=str(uuid.uuid4()), timestamp=int(time.time()),
                                  headers={"x-convoy-message-type": "fanout"})
channel.basic_publish("", os.environ.get("QUEUE", "longshore-demo"), json.dumps(event), properties, mandatory=True)
connection.close()
