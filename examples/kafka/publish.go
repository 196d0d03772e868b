// One CloudEvent through Kafka, to every endpoint of a customer: cd examples/kafka && go run publish.go
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	ctx, topic := context.Background(), cmp.Or(os.Getenv("TOPIC"), "longshore-demo")
	brokers := strings.Split(cmp.Or(os.Getenv("KAFKA_BROKERS"), "127.0.0.1:9092"), ",")
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...)) // acks=all and idempotent, unless told otherwise
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	// Longshore reads topics and makes none.
	if _, err := kadm.NewClient(client).CreateTopic(ctx, 3, -1, nil, topic); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		log.Fatal(err)
	}
	header := func(key, value string) kgo.RecordHeader { return kgo.RecordHeader{Key: key, Value: []byte(value)} }
	record := &kgo.Record{Topic: topic, Key: []byte("customer-1"), Value: []byte(`{"order": 4711, "total": 250}`)}
	record.Headers = []kgo.RecordHeader{
		header("content-type", "application/json"), header("ce_specversion", "1.0"), header("ce_id", rand.Text()),
		header("ce_source", "/shop"), header("ce_type", "order.created"), header("ce_ownerid", "customer-1"),
	}
	if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
		log.Fatal(err)
	}
}
