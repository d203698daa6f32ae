package lab

import "testing"

func TestParseEvent(t *testing.T) {
	t.Parallel()
	// Fields 3, 4 and 5 of an Event, a number, and a source with fields 1 and 2.
	event := "\x1a\x06Master\x22\x02up\x40\x07\x2a\x09\x0a\x03app\x12\x02n1"
	body := "k8s\x00\x0a\x02\x0a\x00\x12" + string(rune(len(event))) + event
	got, err := parseEvent([]byte(body))
	if want := (Event{Node: "n1", Reason: "Master", Message: "up"}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, wrong := range []string{"", "{}", "k8s\x00\x12", "k8s\x00\x12\x05ab", "k8s\x00\x0d\x01\x02\x03\x04"} {
		if got, err := parseEvent([]byte(wrong)); err == nil {
			t.Errorf("%q is %+v, want an error", wrong, got)
		}
	}
}
