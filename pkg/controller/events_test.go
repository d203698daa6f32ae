package controller

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

func testTransition() desired.Transition {
	return desired.Transition{
		RouterKey: desired.RouterKey{Interface: "eth0", Family: vrrp.IPv4, VRID: 50},
		From:      vrrp.Backup,
		To:        vrrp.Master,
		Cause:     desired.Cause{Reason: desired.Reason(vrrp.ReasonMasterDown)},
		Silence:   412345 * time.Microsecond,
		VIPs:      []netip.Addr{netip.MustParseAddr("10.4.0.50"), netip.MustParseAddr("10.4.0.51")},
	}
}

func TestTransitionEvent(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name                       string
		change                     func(*desired.Transition)
		eventType, reason, message string
	}{
		{
			"Master", func(*desired.Transition) {},
			"Normal", "Master", "worker-a became Master of 10.4.0.50, 10.4.0.51 on eth0 (VRID 50): masterDown, no master was heard for 412ms",
		},
		{
			"first Master", func(t *desired.Transition) { t.Silence = 0 },
			"Normal", "Master", "worker-a became Master of 10.4.0.50, 10.4.0.51 on eth0 (VRID 50): masterDown",
		},
		{
			"Backup", func(t *desired.Transition) {
				t.From, t.To, t.Reason = vrrp.Master, vrrp.Backup, desired.Reason(vrrp.ReasonHigherPriority)
			},
			"Normal", "Backup", "worker-a became Backup of 10.4.0.50, 10.4.0.51 on eth0 (VRID 50): higherPriority",
		},
		{
			"shutdown", func(t *desired.Transition) {
				t.From, t.To, t.Reason = vrrp.Master, vrrp.Initialize, desired.Reason(vrrp.ReasonShutdown)
			},
			"Normal", "Shutdown", "worker-a no longer serves 10.4.0.50, 10.4.0.51 on eth0 (VRID 50): shutdown",
		},
		{
			"fault", func(t *desired.Transition) {
				t.From, t.To, t.Reason, t.VIPs = vrrp.Master, vrrp.Initialize, "noCarrier", nil
			},
			"Warning", "Fault", "worker-a cannot serve no VIP on eth0 (VRID 50): noCarrier",
		},
		{
			"no endpoint", func(t *desired.Transition) {
				t.From, t.To, t.Reason = vrrp.Master, vrrp.Initialize, desired.FaultNoLocalEndpoint
			},
			"Normal", "Ineligible", "worker-a is not eligible for 10.4.0.50, 10.4.0.51 on eth0 (VRID 50): noLocalEndpoint",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			transition := testTransition()
			tt.change(&transition)
			eventType, reason, message := transitionEvent("worker-a", transition)
			want, got := []string{tt.eventType, tt.reason, tt.message}, []string{eventType, reason, message}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestTransitionEventIsShort(t *testing.T) {
	t.Parallel()
	transition := testTransition()
	transition.VIPs = nil
	for i := range 255 {
		transition.VIPs = append(transition.VIPs, netip.AddrFrom4([4]byte{192, 168, 255, byte(i)}))
	}
	if _, _, message := transitionEvent("worker-a", transition); len(message) > 1024 {
		t.Errorf("%d bytes: %s", len(message), message)
	}
}

func TestTransitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, testOptions(), testCluster())
		master := testTransition()
		backup := testTransition()
		backup.From, backup.To, backup.Reason = vrrp.Initialize, vrrp.Backup, desired.Reason(vrrp.ReasonStartup)
		gone := testTransition()
		gone.From, gone.To, gone.Reason = vrrp.Master, vrrp.Initialize, desired.Reason(vrrp.ReasonShutdown)
		r.Transition(backup)
		r.Transition(master)
		r.waitForCaches()
		// The last Event before the end is still written.
		r.Transition(gone)
		r.stop()

		const became, left = "worker-a became Master of 10.4.0.50, 10.4.0.51 on eth0 (VRID 50): masterDown, no master was heard for 412ms",
			"worker-a no longer serves 10.4.0.50, 10.4.0.51 on eth0 (VRID 50): shutdown"
		want := []string{
			"Normal Backup ConfigMap/vip-configmap: worker-a became Backup of 10.4.0.50, 10.4.0.51 on eth0 (VRID 50): startup",
			"Normal Master ConfigMap/vip-configmap: " + became,
			"Normal Master Service/echo: " + became,
			"Normal Shutdown ConfigMap/vip-configmap: " + left,
			"Normal Shutdown Service/echo: " + left,
		}
		if diff := cmp.Diff(want, r.events()); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

// TestTransitionsWithoutAPI: transitions never wait for the API server, and Events of
// an outage are written after it.
func TestTransitionsWithoutAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := testCluster()
		down := true
		client.PrependReactor("create", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
			return down, nil, errors.New("connection refused")
		})
		r := start(t, testOptions(), client)
		begin := time.Now()
		for range 10 * maxQueuedEvents {
			r.Transition(testTransition())
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("transitions took %s", d)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := r.logged(`reason="write events"`); n != 1 {
			t.Errorf("logged %d times:\n%s", n, r.log)
		}
		down = false
		before := len(r.events())
		time.Sleep(time.Minute)
		synctest.Wait()
		if events := r.events()[before:]; len(events) != 2 {
			t.Errorf("events: %v", events)
		}
	})
}

func testAlarm() desired.AlarmChange {
	return desired.AlarmChange{
		RouterKey: desired.RouterKey{Interface: "eth0", Family: vrrp.IPv4, VRID: 50},
		Alarm:     desired.Alarm{Reason: string(vrrp.AlarmIncompatiblePeer), Source: netip.MustParseAddr("10.4.0.12"), Detail: "version"},
		On:        true,
		VIPs:      []netip.Addr{netip.MustParseAddr("10.4.0.50"), netip.MustParseAddr("10.4.0.51")},
	}
}

// TestAlarmAdvice: every reason has its own sentence.
func TestAlarmAdvice(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile(filepath.Join("..", "vrrp", "alarm.go"))
	if err != nil {
		t.Fatal(err)
	}
	reasons := regexp.MustCompile(`\sAlarm\w+ +AlarmReason = "(\w+)"`).FindAllStringSubmatch(string(source), -1)
	if len(reasons) == 0 || len(reasons) != len(alarmAdvice) {
		t.Errorf("%d reasons, %d sentences", len(reasons), len(alarmAdvice))
	}
	for _, match := range reasons {
		if alarmAdvice[vrrp.AlarmReason(match[1])] == "" {
			t.Errorf("nothing about %s", match[1])
		}
	}
}

func TestAlarmEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, testOptions(), testCluster())
		alarm := testAlarm()
		r.Alarm(alarm)
		r.waitForCaches()
		alarm.On = false
		r.Alarm(alarm)
		alarm.Reason, alarm.Source, alarm.VIPs = "unheardOf", netip.Addr{}, nil
		alarm.On, alarm.Detail = true, ""
		r.Alarm(alarm)
		// The last Event before the end is still written.
		r.stop()

		const (
			began = "worker-a at 10.4.0.50, 10.4.0.51 on eth0 (VRID 50): incompatiblePeer by 10.4.0.12 (version): its advertisements are discarded, so that both can be Master: give it the same settings, or another VRID"
			ended = "worker-a at 10.4.0.50, 10.4.0.51 on eth0 (VRID 50): incompatiblePeer by 10.4.0.12 has ended"
		)
		want := []string{
			"Warning Alarm ConfigMap/vip-configmap: " + began,
			"Warning Alarm Service/echo: " + began,
			"Normal AlarmEnded ConfigMap/vip-configmap: " + ended,
			"Normal AlarmEnded Service/echo: " + ended,
			"Warning Alarm ConfigMap/vip-configmap: worker-a at no VIP on eth0 (VRID 50): unheardOf",
		}
		if diff := cmp.Diff(want, r.events()); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

// TestAlarmEventIsShort: the API server rejects messages of more than 1024 bytes.
func TestAlarmEventIsShort(t *testing.T) {
	t.Parallel()
	alarm := testAlarm()
	alarm.Detail = strings.Repeat("é", 1000)
	alarm.Source = netip.MustParseAddr("2001:db8:1111:2222:3333:4444:5555:6666")
	alarm.VIPs = nil
	for i := range 90 {
		a := alarm.Source.As16()
		a[15] = byte(i)
		alarm.VIPs = append(alarm.VIPs, netip.AddrFrom16(a))
	}
	for reason := range alarmAdvice {
		alarm.Reason = string(reason)
		node := strings.Repeat("n", 63)
		if _, _, message := alarmEvent(node, alarm); len(message) > 1024 {
			t.Errorf("%d bytes: %s", len(message), message)
		}
	}
}
