// test-engine is a custom engine for load tests: it serves OpenAI's chat completions at a fixed pace
// and costs next to no CPU. Word i of an answer is "PROMPT:i ", so that who asked can tell whether the
// answer is whole and its own. system_fingerprint names the version and the pod that answered.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

var (
	port       = flag.Int("port", 8000, "where to serve")
	load       = flag.Duration("load", 0, "how long the model takes to load")
	firstToken = flag.Duration("first-token", 50*time.Millisecond, "until the first token")
	token      = flag.Duration("token", 50*time.Millisecond, "between tokens")
	drain      = flag.Duration("drain", 60*time.Second, "how long requests may take after SIGTERM")
	version    = flag.String("version", "1", "told in system_fingerprint")
	fail       = flag.Bool("fail", false, "answer every request with 500")
)

type object = map[string]any

type asked struct {
	Model    string
	Messages []struct{ Content string }
	Tokens   int `json:"max_tokens"`
	Stream   bool
	Options  struct {
		Usage bool `json:"include_usage"`
	} `json:"stream_options"`
}

type engine struct {
	model       string
	fingerprint string
	loaded      atomic.Bool
}

func main() {
	flag.Parse()
	model := os.Getenv("MODEL_NAME")
	files, err := os.ReadDir(os.Getenv("MODEL_PATH"))
	if err != nil || len(files) == 0 {
		log.Fatalf("there is no model: %v", err)
	}
	host, _ := os.Hostname()
	e := &engine{model: model, fingerprint: *version + "@" + host}
	time.AfterFunc(*load, func() { e.loaded.Store(true) })
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", e.health)
	mux.HandleFunc("POST /v1/chat/completions", e.chat)
	server := &http.Server{Addr: fmt.Sprintf(":%d", *port), Handler: mux}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	log.Printf("%s serves %s of %s", e.fingerprint, model, filepath.Dir(os.Getenv("MODEL_PATH")))
	select {
	case err := <-failed:
		log.Fatal(err)
	case <-stop.Done():
	}
	ending, cancel := context.WithTimeout(context.Background(), *drain)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		log.Fatal(err)
	}
}

func (e *engine) health(w http.ResponseWriter, _ *http.Request) {
	if !e.loaded.Load() {
		http.Error(w, "loading", http.StatusServiceUnavailable)
	}
}

func (e *engine) chat(w http.ResponseWriter, r *http.Request) {
	var wanted asked
	err := json.NewDecoder(r.Body).Decode(&wanted)
	if err == nil && (wanted.Tokens < 1 || len(wanted.Messages) == 0) {
		err = errors.New("max_tokens and messages are needed")
	}
	switch {
	case err != nil:
		refuse(w, http.StatusBadRequest, err.Error())
	case wanted.Model != e.model:
		refuse(w, http.StatusNotFound, "this engine serves "+e.model)
	case *fail:
		refuse(w, http.StatusInternalServerError, "it fails as it was told to")
	case wanted.Stream:
		e.stream(w, r, wanted)
	default:
		e.whole(w, r, wanted)
	}
}

func refuse(w http.ResponseWriter, status int, message string) {
	answer(w, status, object{"error": object{"message": message, "type": "test", "code": nil}})
}

func answer(w http.ResponseWriter, status int, body object) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

func (e *engine) base(kind string, choices []object) object {
	return object{
		"id": "chatcmpl-1", "object": kind, "created": 1, "model": e.model,
		"system_fingerprint": e.fingerprint, "choices": choices,
	}
}

func word(wanted asked, number int) string {
	return fmt.Sprintf("%s:%d ", wanted.Messages[len(wanted.Messages)-1].Content, number)
}

func usage(wanted asked) object {
	return object{"prompt_tokens": 1, "completion_tokens": wanted.Tokens, "total_tokens": 1 + wanted.Tokens}
}

// pause is false if the client left.
func pause(r *http.Request, number int) bool {
	seconds := *token
	if number == 0 {
		seconds = *firstToken
	}
	select {
	case <-r.Context().Done():
		return false
	case <-time.After(seconds):
		return true
	}
}

func (e *engine) whole(w http.ResponseWriter, r *http.Request, wanted asked) {
	var text strings.Builder
	for number := range wanted.Tokens {
		if !pause(r, number) {
			return
		}
		text.WriteString(word(wanted, number))
	}
	message := object{"role": "assistant", "content": text.String()}
	choice := object{"index": 0, "message": message, "finish_reason": "length"}
	body := e.base("chat.completion", []object{choice})
	body["usage"] = usage(wanted)
	answer(w, http.StatusOK, body)
}

func (e *engine) stream(w http.ResponseWriter, r *http.Request, wanted asked) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	for number := range wanted.Tokens {
		if !pause(r, number) {
			return
		}
		delta := object{"role": "assistant", "content": word(wanted, number)}
		e.event(w, []object{{"index": 0, "delta": delta, "finish_reason": nil}}, nil)
	}
	e.event(w, []object{{"index": 0, "delta": object{}, "finish_reason": "length"}}, nil)
	if wanted.Options.Usage {
		e.event(w, []object{}, usage(wanted))
	}
	fmt.Fprint(w, "data: [DONE]\n\n")
}

func (e *engine) event(w http.ResponseWriter, choices []object, used object) {
	chunk := e.base("chat.completion.chunk", choices)
	if used != nil {
		chunk["usage"] = used
	}
	data, _ := json.Marshal(chunk)
	fmt.Fprintf(w, "data: %s\n\n", data)
	w.(http.Flusher).Flush()
}
