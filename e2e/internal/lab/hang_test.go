package lab

import "testing"

func TestParseTask(t *testing.T) {
	t.Parallel()
	const stat = "4711 (a) b (c) S 1 1 1 0 -1 1 2 3 4 5 6 7 8 9 -11 -20 7 0 100 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 0 1 10 2 0"
	if tid, nice, policy, err := parseTask(stat); tid != 4711 || nice != -20 || policy != 2 || err != nil {
		t.Errorf("got thread %d, nice %d, policy %d, %v", tid, nice, policy, err)
	}
	if _, _, _, err := parseTask("4711 (a) S 1"); err == nil {
		t.Error("a cut line is read without an error")
	}
}
