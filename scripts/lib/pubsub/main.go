// Command pubsub is Google's own stand-in for Pub/Sub, pstest, as a server for tests. It speaks gRPC, without TLS and
// without authentication, and keeps everything in memory: what is published is lost when it ends.
//
// Topics, subscriptions, leases, ordering, filters, delivery attempts and dead-letter topics are pstest's. Ours is what
// pstest leaves out, see service.go; and faults that a test asks for:
//
//   - everything below `projects/denied/` answers PERMISSION_DENIED;
//   - a subscription with the label `stream-ms` has its streams ended with UNAVAILABLE after that many milliseconds, as
//     the real service does after some 30 minutes;
//   - a subscription with the label `acks-unavailable` has that many Acknowledge calls answered with UNAVAILABLE.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"
)

// A message has at most 10 MB, a publish request too; batches of a stream are larger.
const maxRequest = 64 << 20

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "the address to listen on")
	ready := flag.String("ready", "", "a file to write the address to, once it takes connections")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	service := newService()
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxRequest), grpc.UnaryInterceptor(refuseDenied))
	pubsubpb.RegisterPublisherServer(server, service)
	pubsubpb.RegisterSubscriberServer(server, service)
	go func() {
		<-ctx.Done()
		server.Stop()
	}()
	if *ready != "" {
		if err := os.WriteFile(*ready, []byte(listener.Addr().String()+"\n"), 0o644); err != nil {
			log.Fatal(err)
		}
	}
	log.Printf("listening on %s", listener.Addr())
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}
