package controller

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestUninstalled(t *testing.T) {
	deleteDaemonSet := func(t *testing.T, client *fake.Clientset) {
		if err := client.AppsV1().DaemonSets("vip").Delete(t.Context(), "kube-vrrp-vip", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	markDaemonSet := func(t *testing.T, client *fake.Clientset) {
		d := testDaemonSet()
		d.DeletionTimestamp, d.Finalizers = &metav1.Time{Time: time.Now()}, []string{metav1.FinalizerDeleteDependents}
		if _, err := client.AppsV1().DaemonSets("vip").Update(t.Context(), d, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	markNamespace := func(t *testing.T, client *fake.Clientset) {
		n := testNamespace()
		n.DeletionTimestamp = &metav1.Time{Time: time.Now()}
		if _, err := client.CoreV1().Namespaces().Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	orphanPods := func(t *testing.T, client *fake.Clientset) {
		p := testPod("a", "10.4.0.11")
		p.OwnerReferences = nil
		if _, err := client.CoreV1().Pods("vip").Update(t.Context(), p, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	deletePod := func(t *testing.T, client *fake.Clientset) {
		if err := client.CoreV1().Pods("vip").Delete(t.Context(), "kube-vrrp-vip-a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	recreate := func(t *testing.T, client *fake.Clientset) {
		d := testDaemonSet()
		d.UID = "another"
		if _, err := client.AppsV1().DaemonSets("vip").Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	type step = func(*testing.T, *fake.Clientset)

	tests := []struct {
		name  string
		steps []step
		// last changes the responses to get requests before the daemon is stopped.
		last error
		want bool
	}{
		{name: "restart, rolling update, drain", steps: []step{deletePod}},
		{name: "background deletion", steps: []step{deleteDaemonSet}, want: true},
		{name: "foreground deletion", steps: []step{markDaemonSet}, want: true},
		{name: "orphaned and then deleted", steps: []step{deleteDaemonSet, orphanPods}, want: true},
		{name: "orphaned and adopted again", steps: []step{deleteDaemonSet, orphanPods, recreate}},
		{name: "deleted and created again", steps: []step{deleteDaemonSet, recreate}},
		{name: "namespace deletion, pods first", steps: []step{markNamespace}, want: true},

		{name: "restart without permission", last: forbidden("daemonsets")},
		{name: "restart without an API server", last: errors.New("connection refused")},
		{name: "seen before the permission went", steps: []step{deleteDaemonSet}, last: forbidden("daemonsets"), want: true},
		{name: "seen going before the permission went", steps: []step{markDaemonSet}, last: forbidden("daemonsets"), want: true},
		{name: "namespace seen going before the permission went", steps: []step{markNamespace}, last: forbidden("namespaces"), want: true},
		{name: "seen before the pod was forgotten", steps: []step{deleteDaemonSet, deletePod}, last: forbidden("daemonsets"), want: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := testCluster()
				r := start(t, testOptions(), client)
				for _, s := range tt.steps {
					s(t, client)
					r.waitForCaches()
				}
				if tt.last != nil {
					client.PrependReactor("get", "*", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, tt.last })
				}
				if got := r.Uninstalled(t.Context()); got != tt.want {
					t.Errorf("while running: Uninstalled = %v, want %v", got, tt.want)
				}
				r.stop()
				if got := r.Uninstalled(t.Context()); got != tt.want {
					t.Errorf("after the end: Uninstalled = %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// TestUninstalledUnknown: with the RBAC of kube-keepalived-vip the daemon cannot detect
// that it is uninstalled, and the tables stay.
func TestUninstalledUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := testCluster()
		deny(client, forbidden("daemonsets"), "daemonsets")
		deny(client, forbidden("namespaces"), "namespaces")
		r := start(t, testOptions(), client)
		if r.Uninstalled(t.Context()) {
			t.Error("uninstalled")
		}
	})
}

// TestUninstalledMissedEvent: the DaemonSet was deleted while the watch was
// interrupted. The last request to the API server detects it.
func TestUninstalledMissedEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := testCluster()
		r := start(t, testOptions(), client)
		r.stop()
		if err := client.AppsV1().DaemonSets("vip").Delete(t.Context(), "kube-vrrp-vip", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if !r.Uninstalled(t.Context()) {
			t.Error("not uninstalled")
		}
	})
}

func TestUninstalledBeforeRun(t *testing.T) {
	t.Parallel()
	c := New(testCluster(), testOptions(), nil)
	if c.Uninstalled(context.Background()) {
		t.Error("uninstalled")
	}
}
