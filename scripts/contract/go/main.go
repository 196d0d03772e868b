// Calls methods of the generated client by the operation's id, for walk.py: a line of JSON per call and per answer.
// It knows no operation; names are found by reflection.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"

	"longshore.test/contract/contract"
)

type call struct {
	Operation string          `json:"operation"`
	Path      [][2]string     `json:"path"`
	Query     json.RawMessage `json:"query"`
	Body      json.RawMessage `json:"body"`
	Key       string          `json:"key"`
}

type answer struct {
	Status  int    `json:"status,omitempty"`
	Body    string `json:"body,omitempty"`
	Decoded any    `json:"decoded,omitempty"`
	Error   string `json:"error,omitempty"`
}

// recorder keeps what came, for when it cannot be decoded.
type recorder struct{ seen *answer }

func (r recorder) Do(request *http.Request) (*http.Response, error) {
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	r.seen.Status, r.seen.Body = response.StatusCode, string(body)
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, err
}

// typed is the JSON as a value of the generated type; what the type does not know is an error.
func typed(kind reflect.Type, given json.RawMessage) (reflect.Value, error) {
	value := reflect.New(kind)
	decoder := json.NewDecoder(bytes.NewReader(given))
	decoder.DisallowUnknownFields()
	return value.Elem(), decoder.Decode(value.Interface())
}

func ask(base string, wanted call, seen *answer) error {
	client, err := contract.NewClientWithResponses(base, contract.WithHTTPClient(recorder{seen}),
		contract.WithRequestEditorFn(func(_ context.Context, request *http.Request) error {
			request.Header.Set("Authorization", "Bearer "+wanted.Key)
			return nil
		}))
	if err != nil {
		return err
	}
	method := reflect.ValueOf(client).MethodByName(wanted.Operation + "WithResponse")
	if !method.IsValid() {
		return fmt.Errorf("the generated client has no %sWithResponse", wanted.Operation)
	}
	// A context, the parts of the path in its order, then the query if there can be one, then the body.
	arguments := []reflect.Value{reflect.ValueOf(context.Background())}
	for _, part := range wanted.Path {
		arguments = append(arguments, reflect.ValueOf(part[1]))
	}
	rest := []json.RawMessage{wanted.Query, wanted.Body}
	kind := method.Type()
	if last := kind.NumIn() - 1; len(arguments) < last && kind.In(len(arguments)).Kind() != reflect.Pointer {
		rest = rest[1:]
	}
	for ; len(arguments) < kind.NumIn()-1; rest = rest[1:] {
		value, err := typed(kind.In(len(arguments)), rest[0])
		if err != nil {
			return fmt.Errorf("the request is not what the document says: %w", err)
		}
		arguments = append(arguments, value)
	}
	results := method.Call(arguments)
	if err, failed := results[1].Interface().(error); failed {
		return err
	}
	field := results[0].Elem().FieldByName(fmt.Sprintf("JSON%d", seen.Status))
	if field.IsValid() && !field.IsNil() {
		seen.Decoded = field.Interface()
	}
	return nil
}

func main() {
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var wanted call
		var seen answer
		if err := json.Unmarshal(line, &wanted); err != nil {
			seen.Error = err.Error()
		} else if err := ask(os.Args[1], wanted, &seen); err != nil {
			seen.Error = err.Error()
		}
		said, err := json.Marshal(seen)
		if err != nil {
			panic(err)
		}
		fmt.Println(string(said))
	}
}
