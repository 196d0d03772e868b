package main

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// service is pstest with what the real service also does: streams that send batches and keep to their flow control
// (stream.go), acknowledgements of exactly-once subscriptions that fail when their lease is over, and detached
// subscriptions that say so.
type service struct {
	*pstest.GServer

	mu       sync.Mutex
	leases   map[leaseKey]*lease
	detached map[string]bool
	refused  map[string]int // acknowledge calls answered with UNAVAILABLE
	largest  int            // the size of the largest message ever published
	changed  chan struct{}  // closed when there may be something new to deliver
}

type leaseKey struct{ subscription, ackID string }

type lease struct {
	stream *stream
	bytes  int
	until  time.Time
}

func newService() *service {
	fake := pstest.NewServerWithAddress("127.0.0.1:0")
	return &service{
		GServer:  &fake.GServer,
		leases:   map[leaseKey]*lease{},
		detached: map[string]bool{},
		refused:  map[string]int{},
		changed:  make(chan struct{}),
	}
}

func refuseDenied(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	name := ""
	switch request := request.(type) {
	case interface{ GetSubscription() string }:
		name = request.GetSubscription()
	case interface{ GetName() string }:
		name = request.GetName()
	}
	if err := denied(name); err != nil {
		return nil, err
	}
	return handle(ctx, request)
}

func denied(name string) error {
	if strings.HasPrefix(name, "projects/denied/") {
		return status.Errorf(codes.PermissionDenied, "User not authorized to perform this action.")
	}
	return nil
}

// wake lets every stream look for messages.
func (s *service) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *service) news() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *service) Publish(ctx context.Context, request *pubsubpb.PublishRequest) (*pubsubpb.PublishResponse, error) {
	s.mu.Lock()
	for _, message := range request.Messages {
		s.largest = max(s.largest, proto.Size(message))
	}
	s.mu.Unlock()
	defer s.wake()
	return s.GServer.Publish(ctx, request)
}

func (s *service) GetSubscription(ctx context.Context, request *pubsubpb.GetSubscriptionRequest) (*pubsubpb.Subscription, error) {
	found, err := s.GServer.GetSubscription(ctx, request)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := proto.Clone(found).(*pubsubpb.Subscription)
	answer.Detached = s.detached[answer.Name]
	return answer, nil
}

func (s *service) DetachSubscription(ctx context.Context, request *pubsubpb.DetachSubscriptionRequest) (*pubsubpb.DetachSubscriptionResponse, error) {
	answer, err := s.GServer.DetachSubscription(ctx, request)
	if err == nil {
		s.mu.Lock()
		s.detached[request.Subscription] = true
		s.mu.Unlock()
	}
	return answer, err
}

func (s *service) DeleteSubscription(ctx context.Context, request *pubsubpb.DeleteSubscriptionRequest) (*emptypb.Empty, error) {
	answer, err := s.GServer.DeleteSubscription(ctx, request)
	s.mu.Lock()
	delete(s.detached, request.Subscription)
	s.mu.Unlock()
	s.wake()
	return answer, err
}

func (s *service) Acknowledge(ctx context.Context, request *pubsubpb.AcknowledgeRequest) (*emptypb.Empty, error) {
	found, err := s.GServer.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: request.Subscription})
	if err != nil {
		return nil, err
	}
	if s.isRefused(found) {
		return nil, status.Error(codes.Unavailable, "The service was unable to fulfill your request.")
	}
	lost := s.settle(found, request.AckIds, 0)
	defer s.wake()
	answer, err := s.GServer.Acknowledge(ctx, request)
	return answer, failed(lost, err)
}

func (s *service) ModifyAckDeadline(ctx context.Context, request *pubsubpb.ModifyAckDeadlineRequest) (*emptypb.Empty, error) {
	found, err := s.GServer.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: request.Subscription})
	if err != nil {
		return nil, err
	}
	lost := s.settle(found, request.AckIds, time.Duration(request.AckDeadlineSeconds)*time.Second)
	defer s.wake()
	answer, err := s.GServer.ModifyAckDeadline(ctx, request)
	return answer, failed(lost, err)
}

func (s *service) isRefused(subscription *pubsubpb.Subscription) bool {
	limit, _ := strconv.Atoi(subscription.Labels["acks-unavailable"])
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused[subscription.Name] >= limit {
		return false
	}
	s.refused[subscription.Name]++
	return true
}

// settle ends leases, or extends them by more than zero. It returns the ids whose lease is over already, if the
// subscription delivers exactly once.
func (s *service) settle(subscription *pubsubpb.Subscription, ackIDs []string, extension time.Duration) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lost []string
	for _, id := range ackIDs {
		key := leaseKey{subscription.Name, id}
		lease := s.leases[key]
		switch {
		case lease == nil || lease.until.Before(time.Now()):
			lost = append(lost, id)
		case extension > 0:
			lease.until = time.Now().Add(extension)
		default:
			s.end(key, lease)
		}
	}
	if !subscription.EnableExactlyOnceDelivery {
		return nil
	}
	return lost
}

// end forgets a lease. Needs the lock.
func (s *service) end(key leaseKey, lease *lease) {
	delete(s.leases, key)
	lease.stream.messages--
	lease.stream.bytes -= lease.bytes
}

// failed says which acknowledgement ids failed, as the real service does: by the id, in the details of the error.
func failed(lost []string, err error) error {
	if err != nil || len(lost) == 0 {
		return err
	}
	reasons := map[string]string{}
	for _, id := range lost {
		reasons[id] = "PERMANENT_FAILURE_INVALID_ACK_ID"
	}
	refusal := status.New(codes.FailedPrecondition, "Some acknowledgement ids in the request were out of order or invalid.")
	detailed, err := refusal.WithDetails(&errdetails.ErrorInfo{
		Reason:   "EXACTLY_ONCE_ACKID_FAILURE",
		Domain:   "pubsub.googleapis.com",
		Metadata: reasons,
	})
	if err != nil {
		return err
	}
	return detailed.Err()
}
