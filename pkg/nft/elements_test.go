package nft

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/nftables"
)

func TestDifference(t *testing.T) {
	t.Parallel()
	have := map[string]string{"same": "1", "other": "1", "gone": "1"}
	want := map[string]string{"same": "1", "other": "2", "new": "1"}
	del, add := difference(Set{}, have, want)
	byKey := cmpopts.SortSlices(func(a, b nftables.SetElement) bool { return string(a.Key) < string(b.Key) })
	if diff := cmp.Diff([]nftables.SetElement{{Key: []byte("gone"), Val: []byte{}}, {Key: []byte("other"), Val: []byte{}}}, del, byKey); diff != "" {
		t.Errorf("delete: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]nftables.SetElement{
		{Key: []byte("new"), Val: []byte("1")}, {Key: []byte("other"), Val: []byte("2")},
	}, add, byKey); diff != "" {
		t.Errorf("add: -want +got:\n%s", diff)
	}
}
