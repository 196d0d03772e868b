package main

import (
	"context"
	"strconv"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// How often a stream looks for messages whose lease has run out.
const look = 50 * time.Millisecond

// The most messages in one response.
const batch = 1000

// stream is one StreamingPull call. pstest's own sends one message each 10 ms and knows no flow control; this one takes
// what pstest's Pull has, as much as the flow control leaves room for.
type stream struct {
	service      *service
	subscription string
	deadline     int32
	maxMessages  int
	maxBytes     int

	messages, bytes int // out and not settled; needs the service's lock
}

func (s *service) StreamingPull(call pubsubpb.Subscriber_StreamingPullServer) error {
	first, err := call.Recv()
	if err != nil {
		return err
	}
	if err := denied(first.Subscription); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(call.Context())
	defer cancel()
	found, err := s.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: first.Subscription})
	if err != nil {
		return err
	}
	if found.Detached {
		return status.Error(codes.FailedPrecondition, "The subscription is detached from its topic.")
	}
	if first.StreamAckDeadlineSeconds < 10 || first.StreamAckDeadlineSeconds > 600 {
		return status.Error(codes.InvalidArgument, "stream_ack_deadline_seconds must be between 10 and 600.")
	}
	this := &stream{
		service:      s,
		subscription: first.Subscription,
		deadline:     first.StreamAckDeadlineSeconds,
		maxMessages:  limit(first.MaxOutstandingMessages),
		maxBytes:     limit(first.MaxOutstandingBytes),
	}
	pings := make(chan struct{}, 1)
	go func() {
		defer cancel()
		for {
			request, err := call.Recv()
			if err != nil {
				return
			}
			if err := this.settle(ctx, request); err == nil && first.ProtocolVersion >= 1 {
				select {
				case pings <- struct{}{}:
				default:
				}
			}
		}
	}()
	var ended <-chan time.Time
	if ms, _ := strconv.Atoi(found.Labels["stream-ms"]); ms > 0 {
		ended = time.After(time.Duration(ms) * time.Millisecond)
	}
	for ctx.Err() == nil {
		news := s.news()
		response, err := this.pull(ctx, found)
		if err != nil {
			return err
		}
		if response != nil {
			if err := call.Send(response); err != nil {
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-ended:
			return status.Error(codes.Unavailable, "The service was unable to fulfill your request. Please try again.")
		case <-pings:
			if err := call.Send(&pubsubpb.StreamingPullResponse{}); err != nil {
				return err
			}
		case <-news:
		case <-time.After(look):
		}
	}
	return call.Context().Err() // none when the client has merely said that it is done
}

func limit(wanted int64) int {
	if wanted <= 0 {
		return 1 << 40
	}
	return int(wanted)
}

// settle does what a request asks for besides being a sign of life.
func (t *stream) settle(ctx context.Context, request *pubsubpb.StreamingPullRequest) error {
	if len(request.AckIds) > 0 {
		ack := &pubsubpb.AcknowledgeRequest{Subscription: t.subscription, AckIds: request.AckIds}
		if _, err := t.service.Acknowledge(ctx, ack); err != nil {
			return err
		}
	}
	for index, id := range request.ModifyDeadlineAckIds {
		modify := &pubsubpb.ModifyAckDeadlineRequest{
			Subscription:       t.subscription,
			AckIds:             []string{id},
			AckDeadlineSeconds: request.ModifyDeadlineSeconds[index],
		}
		if _, err := t.service.ModifyAckDeadline(ctx, modify); err != nil {
			return err
		}
	}
	return nil
}

// room is how many messages the flow control allows now. What ran out counts no more.
func (t *stream) room() int {
	s := t.service
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for key, lease := range s.leases {
		if lease.stream == t && lease.until.Before(now) {
			s.end(key, lease)
		}
	}
	room := min(batch, t.maxMessages-t.messages)
	bytes := t.maxBytes - t.bytes
	if room <= 0 || bytes <= 0 {
		return 0
	}
	// The sizes are known only once a message is taken.
	return min(room, max(1, bytes/max(1, s.largest)))
}

// pull takes messages and leases them; nil when there is none or no room.
func (t *stream) pull(ctx context.Context, subscription *pubsubpb.Subscription) (*pubsubpb.StreamingPullResponse, error) {
	room := t.room()
	if room == 0 {
		return nil, nil
	}
	s := t.service
	pulled, err := s.GServer.Pull(ctx, &pubsubpb.PullRequest{
		Subscription:      t.subscription,
		MaxMessages:       int32(room),
		ReturnImmediately: true,
	})
	if err != nil || len(pulled.ReceivedMessages) == 0 {
		return nil, err
	}
	response := &pubsubpb.StreamingPullResponse{
		SubscriptionProperties: &pubsubpb.StreamingPullResponse_SubscriptionProperties{
			ExactlyOnceDeliveryEnabled: subscription.EnableExactlyOnceDelivery,
			MessageOrderingEnabled:     subscription.EnableMessageOrdering,
		},
	}
	deadline := time.Duration(t.deadline) * time.Second
	modify := &pubsubpb.ModifyAckDeadlineRequest{Subscription: t.subscription, AckDeadlineSeconds: t.deadline}
	s.mu.Lock()
	for _, message := range pulled.ReceivedMessages {
		key := leaseKey{t.subscription, message.AckId}
		lease := &lease{stream: t, bytes: proto.Size(message.Message), until: time.Now().Add(deadline)}
		s.leases[key] = lease
		t.messages++
		t.bytes += lease.bytes
		modify.AckIds = append(modify.AckIds, message.AckId)
		// A later delivery changes pstest's copy.
		response.ReceivedMessages = append(response.ReceivedMessages, &pubsubpb.ReceivedMessage{
			AckId:           message.AckId,
			Message:         message.Message,
			DeliveryAttempt: message.DeliveryAttempt,
		})
	}
	s.mu.Unlock()
	_, err = s.GServer.ModifyAckDeadline(ctx, modify)
	return response, err
}
