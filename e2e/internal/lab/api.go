package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"kube-vrrp-vip/pkg/netns"
)

// apiAddress is where the stub of the API serves.
const apiAddress = "198.18.0.254:8001"

// Object is an object of the Kubernetes API as JSON has it.
type Object map[string]any

// resource is a kind of objects that the stub knows.
type resource struct {
	apiVersion, kind string
}

var resources = map[string]resource{
	"configmaps": {"v1", "ConfigMap"},
	"services":   {"v1", "Service"},
	"pods":       {"v1", "Pod"},
	"nodes":      {"v1", "Node"},
	"namespaces": {"v1", "Namespace"},
	"daemonsets": {"apps/v1", "DaemonSet"},
}

// API is a stub of the Kubernetes API: it serves get, list and watch of what it
// was told to hold, and takes events.
type API struct {
	ns     *netns.Namespace
	server *http.Server
	ended  chan struct{}

	mu      sync.Mutex
	events  []Event
	version int
	objects map[string]map[string]Object // by resource and namespace/name
	changes []change
	changed chan struct{} // closed at every change
}

// change is an entry of what watches tell.
type change struct {
	version  int
	resource string
	Type     string `json:"type"`
	Object   Object `json:"object"`
}

func newAPI() (*API, error) {
	ns, err := netns.New("api")
	if err != nil {
		return nil, err
	}
	a := &API{ns: ns, objects: map[string]map[string]Object{}, changed: make(chan struct{})}
	err = ns.IP("link set lo up", "link add br0 type bridge stp_state 0", "addr add 198.18.0.254/24 dev br0", "link set br0 up")
	if err == nil {
		err = a.Start()
	}
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return a, nil
}

// Start makes the API server serve, as it does from the beginning until Stop.
func (a *API) Start() error {
	var listener net.Listener
	if err := a.ns.Do(func() error {
		var err error
		listener, err = net.Listen("tcp", apiAddress)
		return err
	}); err != nil {
		return err
	}
	server, ended := &http.Server{Handler: a, ReadHeaderTimeout: 10 * time.Second}, make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // until Stop
	}()
	a.server, a.ended = server, ended
	return nil
}

// Stop ends all connections, and refuses new ones.
func (a *API) Stop() error {
	err := a.server.Close()
	<-a.ended
	return err
}

// Events returns the Events that were written.
func (a *API) Events() []Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.events)
}

// connect gives a host a link to the API.
func (a *API) connect(h *Host) error {
	port := fmt.Sprintf("p%d", h.Index)
	if err := a.ns.IP(
		"link add "+port+" type veth peer name api0 netns "+h.Path(),
		"link set "+port+" master br0",
		"link set "+port+" up",
	); err != nil {
		return err
	}
	return h.IP("link set api0 addrgenmode none", fmt.Sprintf("addr add 198.18.0.%d/24 dev api0", h.Index+1), "link set api0 up")
}

func (a *API) close() error {
	return errors.Join(a.Stop(), a.ns.Close())
}

// Set creates or replaces an object of a resource such as "configmaps". Its
// metadata has a name and, unless the resource has none, a namespace.
func (a *API) Set(resource string, o Object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := resources[resource]
	key := key(o)
	kind := "MODIFIED"
	if a.objects[resource] == nil {
		a.objects[resource] = map[string]Object{}
	}
	if a.objects[resource][key] == nil {
		kind = "ADDED"
	}
	o = clone(o)
	o["apiVersion"], o["kind"] = r.apiVersion, r.kind
	a.objects[resource][key] = o
	a.note(resource, kind, o)
}

// Delete removes an object.
func (a *API) Delete(resource, namespace, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := namespace + "/" + name
	if o := a.objects[resource][key]; o != nil {
		delete(a.objects[resource], key)
		a.note(resource, "DELETED", clone(o))
	}
}

// note tells the watches. The caller holds the lock.
func (a *API) note(resource, kind string, o Object) {
	a.version++
	o["metadata"].(map[string]any)["resourceVersion"] = strconv.Itoa(a.version)
	a.changes = append(a.changes, change{a.version, resource, kind, o})
	close(a.changed)
	a.changed = make(chan struct{})
}

// ServeHTTP answers a client of the Kubernetes API.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	resource, namespace, name, ok := parsePath(r.URL.Path)
	switch {
	case resource == "events" && (r.Method == http.MethodPost || r.Method == http.MethodPatch):
		a.noteEvent(r)
		answer(w, http.StatusCreated, Object{"apiVersion": "v1", "kind": "Event", "metadata": map[string]any{"name": "event", "namespace": namespace}})
		return
	case !ok || resources[resource] == (struct{ apiVersion, kind string }{}) || r.Method != http.MethodGet:
		failure(w, http.StatusMethodNotAllowed, "MethodNotAllowed", r.Method+" "+r.URL.Path+" is not served here")
		return
	}
	if name != "" {
		a.mu.Lock()
		o := a.objects[resource][namespace+"/"+name]
		a.mu.Unlock()
		if o == nil {
			failure(w, http.StatusNotFound, "NotFound", resource+" "+name+" not found")
			return
		}
		answer(w, http.StatusOK, o)
		return
	}
	if only, found := strings.CutPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name="); found {
		name = only
	}
	matches := func(o Object) bool {
		m := o["metadata"].(map[string]any)
		return (namespace == "" || m["namespace"] == namespace) && (name == "" || m["name"] == name)
	}
	if w1 := r.URL.Query().Get("watch"); w1 == "true" || w1 == "1" {
		a.watch(w, r, resource, matches)
		return
	}
	a.list(w, resource, matches)
}

// noteEvent keeps an Event that is new.
func (a *API) noteEvent(r *http.Request) {
	if r.Method != http.MethodPost {
		return
	}
	body, err := io.ReadAll(r.Body)
	var e Event
	if err == nil {
		e, err = parseEvent(body)
	}
	if err != nil {
		e.Message = "unreadable: " + err.Error()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, e)
}

func (a *API) list(w http.ResponseWriter, resource string, matches func(Object) bool) {
	items := []Object{}
	a.mu.Lock()
	for _, o := range a.objects[resource] {
		if matches(o) {
			items = append(items, o)
		}
	}
	version := a.version
	a.mu.Unlock()
	r := resources[resource]
	answer(w, http.StatusOK, Object{
		"apiVersion": r.apiVersion,
		"kind":       r.kind + "List",
		"metadata":   map[string]any{"resourceVersion": strconv.Itoa(version)},
		"items":      items,
	})
}

func (a *API) watch(w http.ResponseWriter, r *http.Request, resource string, matches func(Object) bool) {
	// A client that has listed first names a version.
	seen, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	encoder, flush := json.NewEncoder(w), http.NewResponseController(w)
	for {
		a.mu.Lock()
		changed := a.changed
		var news []change
		for _, c := range a.changes {
			if c.version > seen && c.resource == resource && matches(c.Object) {
				news = append(news, c)
			}
		}
		seen = a.version
		a.mu.Unlock()
		for _, c := range news {
			if encoder.Encode(c) != nil {
				return
			}
		}
		if flush.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		}
	}
}

// parsePath takes apart /api/v1/[namespaces/NS/]RESOURCE[/NAME] and
// /apis/GROUP/VERSION/... alike.
func parsePath(path string) (resource, namespace, name string, ok bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		parts = parts[3:]
	default:
		return "", "", "", false
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		namespace, parts = parts[1], parts[2:]
	}
	if len(parts) == 2 {
		name = parts[1]
	}
	return parts[0], namespace, name, len(parts) <= 2
}

func answer(w http.ResponseWriter, status int, o Object) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(o) // The client may have gone.
}

func failure(w http.ResponseWriter, status int, reason, message string) {
	answer(w, status, Object{"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": status})
}

// key is where an object is kept.
func key(o Object) string {
	m := o["metadata"].(map[string]any)
	namespace, _ := m["namespace"].(string)
	return namespace + "/" + m["name"].(string)
}

// clone copies an object, so that what watches have yet to tell does not change
// any more.
func clone(o Object) Object {
	text, err := json.Marshal(o)
	if err != nil {
		panic(fmt.Sprintf("an object is not JSON: %v", err))
	}
	var c Object
	if err := json.Unmarshal(text, &c); err != nil {
		panic(err)
	}
	return c
}
