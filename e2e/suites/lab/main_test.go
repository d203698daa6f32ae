package lab

import (
	"testing"

	"kube-vrrp-vip/e2e/internal/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m, 8) }
