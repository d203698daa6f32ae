package probe

import (
	"errors"
	"testing"
	"time"
)

func TestResultOutage(t *testing.T) {
	t0 := time.Now()
	at := func(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }
	result := func(end int, answers ...int) *Result {
		r := &Result{Begin: t0, End: at(end)}
		for _, ms := range answers {
			r.succeed(at(ms-1), at(ms), "host=h node=n1 client=192.0.2.1:5")
		}
		return r
	}
	for _, tt := range []struct {
		name  string
		r     *Result
		after int
		want  int
	}{
		{"steady", result(6, 2, 4, 6), 0, 2},
		{"gap in the middle", result(110, 2, 4, 104, 106, 108), 0, 100},
		{"never there", result(500), 0, 500},
		{"never came back", result(300, 2, 4), 0, 296},
		{"late at first", result(60, 50, 52), 0, 50},
		{"gap before the time asked for", result(110, 2, 4, 104, 106), 105, 4},
		{"time asked for within the gap", result(110, 2, 4, 104, 106), 50, 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, want := tt.r.OutageAfter(at(tt.after)), time.Duration(tt.want)*time.Millisecond; got != want {
				t.Errorf("OutageAfter(%d ms) = %s, want %s", tt.after, got, want)
			}
		})
	}
	gaps := result(110, 2, 4, 104, 106).Gaps(50 * time.Millisecond)
	if len(gaps) != 1 || gaps[0].Before != "host=h node=n1 client=192.0.2.1" || gaps[0].After != gaps[0].Before {
		t.Errorf("Gaps = %v", gaps)
	}
}

// TestResultNext has an outage that begins in one Result and ends in the next.
func TestResultNext(t *testing.T) {
	t0 := time.Now()
	at := func(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }
	r := &Result{Begin: t0, End: at(10)}
	if n := r.next(); n.Begin != t0 {
		t.Errorf("without an answer it begins at %s, want %s", n.Begin, t0)
	}
	r.succeed(at(1), at(2), "a")
	n := r.next()
	n.succeed(at(51), at(52), "a")
	n.End = at(53)
	if got, want := n.OutageAfter(at(10)), 50*time.Millisecond; got != want || len(n.Successes) != 1 || n.Begun != 0 {
		t.Errorf("outage %s, want %s: %+v", got, want, n)
	}
}

func TestParseAnswer(t *testing.T) {
	for _, tt := range []struct {
		name, data, body string
		complete         bool
		kind             Kind
	}{
		{name: "nothing"},
		{name: "half a header", data: "HTTP/1.1 200 OK\r\nContent-"},
		{name: "half a body", data: "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"},
		{name: "whole", data: "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd", body: "abcd", complete: true},
		{name: "chunked", data: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", body: "ab", complete: true},
		{name: "half chunked", data: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"},
		{name: "bad status", data: "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", kind: KindHTTP},
		{name: "not HTTP", data: "SSH-2.0\r\n\r\n", kind: KindHTTP},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body, complete, err := parseAnswer([]byte(tt.data))
			if body != tt.body || complete != tt.complete {
				t.Errorf("got %q, %v; want %q, %v", body, complete, tt.body, tt.complete)
			}
			if (err != nil) != (tt.kind != "") || err != nil && kindOf(err) != tt.kind {
				t.Errorf("error %v, want kind %q", err, tt.kind)
			}
		})
	}
}

func TestField(t *testing.T) {
	const body = "host=web-1 node=n2 client=[fd89::11]:7843\n"
	for name, want := range map[string]string{"host": "web-1", "node": "n2", "client": "[fd89::11]:7843", "nod": "", "x": ""} {
		if got := Field(body, name); got != want {
			t.Errorf("Field(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestKindOfOther(t *testing.T) {
	if got := kindOf(errors.New("x")); got != KindOther {
		t.Errorf("kind %q", got)
	}
}
