package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/vrrp"
)

func TestRun(t *testing.T) {
	env := map[string]string{"POD_NAME": "pod", "POD_NAMESPACE": "vip"}
	long := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(long, []byte("swordfish\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		env  map[string]string
		code int
		out  string
		err  string
	}{
		{name: "version", args: []string{"version"}, out: "dev\n"},
		{name: "help", args: []string{"-h"}, env: env, out: "-services-configmap"},
		{name: "wrong value", args: []string{"--vrid=300"}, env: env, code: 2, err: "--vrid=300: must be 1 to 255"},
		{name: "unknown flag", args: []string{"--no-such-flag"}, env: env, code: 2, err: "no-such-flag"},
		{name: "no password", args: []string{"--vrrp-version=2", "--auth-pass-file=/no/such/file"}, env: env, code: 2, err: "--auth-pass-file=/no/such/file: open /no/such/file: no such file"},
		{name: "password too long", args: []string{"--vrrp-version=2", "--auth-pass-file=" + long}, env: env, code: 2, err: "password: the password has 9 bytes"},
		{name: "no environment", code: 2, err: "POD_NAME is not set"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			code := run(tt.args, func(k string) string { return tt.env[k] }, &out, &errOut)
			if code != tt.code || !strings.Contains(out.String(), tt.out) || !strings.Contains(errOut.String(), tt.err) {
				t.Errorf("code %d, out %q, err %q; want %d, %q, %q", code, out.String(), errOut.String(), tt.code, tt.out, tt.err)
			}
		})
	}
}

func TestReadPassword(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := config.Options{AuthPassFile: path}
	if err := readPassword(&o); err != nil || o.VRRP.Password != (vrrp.Password{'s', 'e', 'c', 'r', 'e', 't'}) {
		t.Errorf("%q, %v", o.VRRP.Password[:], err)
	}
	if text := fmt.Sprintf("%v %+v %#v", o, o, o); strings.Contains(text, "secret") {
		t.Errorf("the password shows: %s", text)
	}
}
