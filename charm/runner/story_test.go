package runner

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
)

// A registration without a machine is no runner that works on.
func TestStoryOfWhatIsBusy(t *testing.T) {
	for do, want := range map[Do]string{
		DoRelease:    "left acme-0-1 alone (busy)",
		DoDeregister: "left the registration of acme-0-1: its machine is gone, GitHub still counts it busy",
	} {
		var out bytes.Buffer
		log := logrus.New()
		log.SetOutput(&out)
		r := &reconcile{Manager: &Manager{cfg: Config{Log: logrus.NewEntry(log)}}}
		d := deed{step: Step{Do: do}, name: "acme-0-1", err: ErrBusy}
		r.reportFate(d.fate(), []deed{d})
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s: the log says %q, want %q", do, out.String(), want)
		}
	}
}
