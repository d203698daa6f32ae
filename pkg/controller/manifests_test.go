package controller

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"kube-vrrp-vip/pkg/config"
)

// readManifests decodes the documents of a kind in a manifest.
func readManifests[T any](t *testing.T, file, kind string) []T {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "manifests", file))
	if err != nil {
		t.Fatal(err)
	}
	var found []T
	for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
		var typeMeta struct{ Kind string }
		if err := yaml.Unmarshal(document, &typeMeta); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if typeMeta.Kind != kind {
			continue
		}
		var o T
		if err := yaml.UnmarshalStrict(document, &o); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		found = append(found, o)
	}
	if len(found) == 0 {
		t.Fatalf("%s has no %s", file, kind)
	}
	return found
}

// TestManifestsOptions: the daemon accepts the arguments and the environment in the
// DaemonSet, and they result in the default options.
func TestManifestsOptions(t *testing.T) {
	t.Parallel()
	d := readManifests[appsv1.DaemonSet](t, "daemonset.yaml", "DaemonSet")[0]
	pod := testPod("a", "10.4.0.11")
	fields := map[string]string{
		"metadata.name":      pod.Name,
		"metadata.namespace": d.Namespace,
		"spec.nodeName":      pod.Spec.NodeName,
		"status.hostIP":      pod.Status.HostIP,
	}
	container := d.Spec.Template.Spec.Containers[0]
	got, err := config.ParseOptions(container.Args, func(name string) string {
		for _, e := range container.Env {
			if e.Name == name {
				return fields[e.ValueFrom.FieldRef.FieldPath]
			}
		}
		return ""
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(testOptions(), got, compareAddr); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
	if port := container.Ports[0].ContainerPort; int(port) != got.HTTPPort {
		t.Errorf("the port of the probes is %d, the daemon's %d", port, got.HTTPPort)
	}
}

// TestManifestsPermissions: the roles permit the requests of the daemon, and no
// others.
func TestManifestsPermissions(t *testing.T) {
	roles := readManifests[rbacv1.Role](t, "rbac.yaml", "Role")
	clusterRoles := readManifests[rbacv1.ClusterRole](t, "rbac.yaml", "ClusterRole")

	type permission struct{ group, resource, name, verb string }
	granted := func(rules []rbacv1.PolicyRule) (all []permission) {
		for _, r := range rules {
			names := r.ResourceNames
			if len(names) == 0 {
				names = []string{""}
			}
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					for _, name := range names {
						for _, verb := range r.Verbs {
							all = append(all, permission{group, resource, name, verb})
						}
					}
				}
			}
		}
		return all
	}
	inNamespace, everywhere := granted(roles[0].Rules), granted(clusterRoles[0].Rules)
	unused := slices.Concat(inNamespace, everywhere)

	synctest.Test(t, func(t *testing.T) {
		r := start(t, testOptions(), localCluster(t))
		r.Transition(testTransition())
		r.waitForCaches()
		r.Transition(testTransition()) // Increments the count with a patch.
		r.waitForCaches()
		r.Uninstalled(t.Context())

		for _, a := range r.client.Actions() {
			p := permission{a.GetResource().Group, a.GetResource().Resource, "", a.GetVerb()}
			switch a := a.(type) {
			case clienttesting.ListAction:
				p.name, _ = a.GetListRestrictions().Fields.RequiresExactMatch("metadata.name")
			case clienttesting.WatchAction:
				p.name, _ = a.GetWatchRestrictions().Fields.RequiresExactMatch("metadata.name")
			case clienttesting.GetAction:
				p.name = a.GetName()
			}
			unnamed := p
			unnamed.name = ""
			permitted := slices.Contains(everywhere, p) || slices.Contains(everywhere, unnamed) ||
				a.GetNamespace() == roles[0].Namespace && (slices.Contains(inNamespace, p) || slices.Contains(inNamespace, unnamed))
			if !permitted {
				t.Errorf("not permitted: %+v in namespace %q", p, a.GetNamespace())
			}
			unused = slices.DeleteFunc(unused, func(u permission) bool { return u == p || u == unnamed })
		}
	})
	for _, p := range unused {
		t.Errorf("permitted and not needed: %+v", p)
	}
}
