package simulation

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github-runner/charm/juju"
	"github-runner/lab/faults"
	"github-runner/lab/github"
	labguests "github-runner/lab/guests"
	"github-runner/lab/lxd"
	"github-runner/lab/openstack"
)

// faultTest is one thing that goes wrong.
type faultTest struct {
	lxd       lxd.Fault
	openStack faults.Fault
	github    github.Fault
	// told is what the status says at last half an interval after the first
	// hook that met the fault has ended; "": the fault harms nothing that
	// anybody must know of.
	told string
	// late is set where only runners that have ended meet the fault.
	late bool
	// alone is set where the agent meets the fault before a hook does, which only
	// counts then what the agent could not remove.
	alone bool
	// virtual is set where it concerns virtual machines.
	virtual bool
}

func everyFault() []faultTest {
	return []faultTest{
		{lxd: lxd.Fault{Kind: lxd.CreateFails}, told: `^waiting: cannot create instance .*unsquashfs.*next try after`},
		{lxd: lxd.Fault{Kind: lxd.CreateHalf}, told: `^waiting: cannot create instance .*I/O error.*next try after`},
		{lxd: lxd.Fault{Kind: lxd.CreateHangs}, told: `^waiting: cannot create instance .*not finished within 5m0s.*restart LXD`},
		{lxd: lxd.Fault{Kind: lxd.StartFails}, told: `^waiting: cannot start instance .*lxd forkstart.*next try after`},
		{lxd: lxd.Fault{Kind: lxd.StartHangs}, told: `^waiting: cannot start instance .*not finished within 5m0s.*restart LXD`},
		{lxd: lxd.Fault{Kind: lxd.StopHangs}, told: `^waiting: cannot remove .*not finished within 2m0s.*restart LXD`, late: true},
		{lxd: lxd.Fault{Kind: lxd.DeleteFails}, told: `^waiting: cannot remove .*device or resource busy`, late: true},
		{lxd: lxd.Fault{Kind: lxd.DeleteHangs}, told: `^waiting: cannot remove .*not finished within 2m0s.*restart LXD`, late: true, alone: true},
		{lxd: lxd.Fault{Kind: lxd.ExecHangs}},
		{lxd: lxd.Fault{Kind: lxd.PoolFull}, told: `^waiting: the storage pool github-runner is full`},
		{lxd: lxd.Fault{Kind: lxd.ImageGone}, told: `^blocked: no image for the runners: lxc image copy`},
		{lxd: lxd.Fault{Kind: lxd.NoSubnet}},
		{lxd: lxd.Fault{Kind: lxd.CallFails}, told: `^waiting: cannot list LXD's networks: Internal server error`},
		{lxd: lxd.Fault{Kind: lxd.SlowAnswers, For: 40 * time.Second}, told: `^waiting: cannot list LXD's networks: LXD is unreachable`},
		{lxd: lxd.Fault{Kind: lxd.SlowAnswers, For: 5 * time.Second}},
		{lxd: lxd.Fault{Kind: lxd.LostAnswer}, told: `^waiting: .*cannot create instance .*LXD is unreachable`},
		{lxd: lxd.Fault{Kind: lxd.EventsLost}},
		{lxd: lxd.Fault{Kind: lxd.AppExits, Message: "libicu is missing"}, told: `^waiting: runner .* ended without taking a job; it left: libicu is missing`},
		{lxd: lxd.Fault{Kind: lxd.NeverOnline}, told: `^waiting: runner .* did not come online in time; it left: connecting to GitHub`},
		{lxd: lxd.Fault{Kind: lxd.SlowBoot, For: time.Minute}},
		{lxd: lxd.Fault{Kind: lxd.SlowBoot, For: 6 * time.Minute}},
		{lxd: lxd.Fault{Kind: lxd.LongPreJob, For: time.Minute}},
		{lxd: lxd.Fault{Kind: lxd.PowerOffHangs}},
		{lxd: lxd.Fault{Kind: lxd.DiskQuota}, told: `^waiting: vm-disk of 1024 MiB is too small for the image noble: raise it`},
		{lxd: lxd.Fault{Kind: lxd.NoKVM}, virtual: true, told: `^blocked: this machine can't run virtual machines: set lxd-instance-type=container`},
		{lxd: lxd.Fault{Kind: lxd.NoAgent}, virtual: true, told: `^waiting: runner .* did not come online in time`, late: true},
		{lxd: lxd.Fault{Kind: lxd.LateAgent, For: 2 * time.Minute}, virtual: true},
		{lxd: lxd.Fault{Kind: lxd.MountFails}, virtual: true, told: `^waiting: runner .* ended without taking a job`},
		{lxd: lxd.Fault{Kind: lxd.OddStatus, Message: "Error"}, virtual: true},
		{lxd: lxd.Fault{Kind: lxd.OddStatus, Message: "Frozen"}},
		{github: github.Fault{Kind: github.FaultStatus, Status: 500}, told: `^waiting: cannot list the runners of acme/widgets .*GitHub answers 500`},
		{github: github.Fault{Kind: github.FaultStatus, Status: 401}, told: `^blocked: check the option token: GitHub refuses it`},
		{github: github.Fault{Kind: github.FaultStatus, Status: 403}, told: `^blocked: give the token the right to manage the self-hosted runners of acme/widgets`},
		{github: github.Fault{Kind: github.FaultStatus, Status: 404}, told: `^blocked: check the option path`},
		{github: github.Fault{Kind: github.FaultStatus, Status: 404, On: "register"}, told: `^blocked: check the option path`},
		{github: github.Fault{Kind: github.FaultStatus, Status: 409, On: "register"}, told: `^waiting: cannot register runner .*already exists`},
		{github: github.Fault{Kind: github.FaultStatus, Status: 422, On: "register"}, told: `^blocked: check the option labels`},
		{github: github.Fault{Kind: github.FaultStatus, Status: 500, On: "get"}},
		{github: github.Fault{Kind: github.FaultStatus, Status: 500, On: "delete"}},
		{github: github.Fault{Kind: github.FaultStatus, Status: 500, On: "downloads"}},
		{github: github.Fault{Kind: github.FaultBody, Body: "<html>proxy</html>"}, told: `^waiting: check the option github-url if this lasts`},
		{github: github.Fault{Kind: github.FaultBody, Body: "{}"}, told: `^waiting: check the option github-url if this lasts`},
		// GitHub's list lies, and what it says of each runner does not.
		{github: github.Fault{Kind: github.FaultBody, On: "list", Body: `{"total_count":0,"runners":[]}`}},
		{github: github.Fault{Kind: github.FaultDelay, Delay: 40 * time.Second}, told: `^waiting: cannot list the runners .*unreachable`},
		{github: github.Fault{Kind: github.FaultDelay, Delay: 10 * time.Second}},
		{github: github.Fault{Kind: github.FaultLost}, told: `^waiting: cannot list the runners .*no answer from`},
		{github: github.Fault{Kind: github.FaultDown}, told: `^waiting: cannot list the runners .*no answer from`},
		{github: github.Fault{Kind: github.FaultPrimary, For: 30 * time.Minute}, told: `^waiting: GitHub answers again at 00:33:01 UTC: rate limit`},
		{github: github.Fault{Kind: github.FaultSecondary, RetryAfter: 60}, told: `^waiting: GitHub answers again at .*: rate limit`},
		{github: github.Fault{Kind: github.FaultRevoked}, told: `^blocked: check the option token: GitHub refuses it`},
		{github: github.Fault{Kind: github.FaultLag, Delay: time.Minute}},
		{github: github.Fault{Kind: github.FaultLateDelete, Delay: 3 * time.Second}},
		{github: github.Fault{Kind: github.FaultLinger, Delay: 15 * time.Minute}},
	}
}

func everyFaultOfOpenStack() []faultTest {
	return []faultTest{
		{openStack: faults.Fault{Kind: openstack.CallFails, Status: 500}, told: `^waiting: .*OpenStack is unreachable: it answers 500`},
		{openStack: faults.Fault{Kind: openstack.CallFails, Status: 403}, told: `^blocked: let the user in openstack-clouds-yaml do what runners need`},
		{openStack: faults.Fault{Kind: openstack.CallFails, Name: "POST /compute/v2.1/servers", Status: 400}, told: `^blocked: see whether openstack-flavor, openstack-image and openstack-network go together`},
		{openStack: faults.Fault{Kind: openstack.CallFails, Name: "DELETE *", Status: 409}, told: `^blocked: unlock the server: openstack server unlock`, late: true},
		{openStack: faults.Fault{Kind: openstack.RateLimited, For: time.Minute}, told: `^waiting: OpenStack answers again at .*: rate limit`},
		{openStack: faults.Fault{Kind: openstack.SlowAnswers, For: 40 * time.Second}, told: `^waiting: .*OpenStack is unreachable`},
		{openStack: faults.Fault{Kind: openstack.SlowAnswers, For: 2 * time.Second}},
		{openStack: faults.Fault{Kind: openstack.LostAnswer}, told: `^waiting: .*OpenStack is unreachable`},
		{openStack: faults.Fault{Kind: openstack.LoginFails}, told: `^blocked: set openstack-clouds-yaml with credentials that OpenStack takes`},
		{openStack: faults.Fault{Kind: openstack.TokenRevoked}, told: `^blocked: set openstack-clouds-yaml with credentials that OpenStack takes`},
		{openStack: faults.Fault{Kind: openstack.QuotaExceeded}, told: `^waiting: raise the quota of the OpenStack project`},
		{openStack: faults.Fault{Kind: openstack.NoValidHost, Message: "No valid host was found."}, told: `^waiting: runner .* No valid host was found.*next try after`},
		{openStack: faults.Fault{Kind: openstack.BuildHangs, For: 8 * time.Minute}},
		{openStack: faults.Fault{Kind: openstack.DeleteHangs, For: 8 * time.Minute}},
		{openStack: faults.Fault{Kind: openstack.DeleteFails, Message: "the disk is busy"}},
		{openStack: faults.Fault{Kind: openstack.PortLeft}},
		{openStack: faults.Fault{Kind: openstack.Vanishes, Name: vanishing, Count: 1}},
		{openStack: faults.Fault{Kind: openstack.OddStatus, Message: "PAUSED"}},
		{openStack: faults.Fault{Kind: openstack.ImageGone}, told: `^blocked: set openstack-image to`},
		{openStack: faults.Fault{Kind: openstack.SlowBoot, For: 3 * time.Minute}},
		{openStack: faults.Fault{Kind: openstack.PowerOffHangs}},
		{openStack: faults.Fault{Kind: openstack.SSHFails}},
		{openStack: faults.Fault{Kind: openstack.SSHHangs}},
		{openStack: faults.Fault{Kind: labguests.AppExits, Message: "libicu is missing"}, told: `^waiting: runner .* ended without taking a job; it left: libicu is missing`},
		// Such a server has 20 minutes, for an image may have to be fetched.
		{openStack: faults.Fault{Kind: labguests.NeverOnline}, told: `^maintenance: starting runners`},
		{openStack: faults.Fault{Kind: labguests.LongPreJob, For: time.Minute}},
	}
}

// TestEveryFaultAlone lets one thing go wrong, for half an hour, in the life of a
// unit that gets jobs, more runners and a flush meanwhile. All must be well
// afterwards, and the status must tell before.
func TestEveryFaultAlone(t *testing.T) {
	for i, test := range append(everyFault(), everyFaultOfOpenStack()...) {
		if i%oneIn != 0 {
			continue
		}
		what := describe(string(test.lxd.Kind)+string(test.openStack.Kind)+test.github.Kind, test.github.On+test.openStack.Name, 0)
		if status := test.github.Status + test.openStack.Status; status != 0 {
			what += fmt.Sprint(" ", status)
		}
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			const from, to = 3 * time.Minute, 33 * time.Minute
			p := Plan{Name: what, OpenStack: test.openStack.Kind != "", Calm: to + time.Second, Neighbours: true, Alone: test.alone, Config: map[string]any{
				"path": "acme/widgets", "token": "ghp_SECRET1", "virtual-machines": int64(2),
			}}
			if test.virtual {
				p.Config["lxd-instance-type"], p.Config["base-image"] = "virtual-machine", virtualImage
			}
			p.add(from, func(l *life) {
				switch {
				case test.lxd.Kind != "":
					l.troubleLXD(test.lxd, to-from)
				case test.openStack.Kind != "":
					l.troubleOpenStack(test.openStack, to-from)
				default:
					l.troubleGitHub(test.github, to-from)
				}
			}, "%s", what)
			p.add(4*time.Minute, func(l *life) { l.configure("virtual-machines", int64(4)) }, "virtual-machines=4")
			p.add(12*time.Minute, func(l *life) { l.queueJobs(github.JobRequest{Duration: 20 * time.Second, Count: 2, Name: "build"}) }, "2 jobs")
			p.add(18*time.Minute, func(l *life) { l.queueJobs(github.JobRequest{Duration: 20 * time.Minute, Name: "build"}) }, "a long job")
			flush := call{kind: juju.KindAction, name: "flush-runners"}
			p.add(20*time.Minute, func(l *life) { l.queue(flush) }, "%s", flush)
			report := live(t, p)
			checkTold(t, report.Statuses, test.told, test.late)
		})
	}
}

// checkTold looks for a text among the statuses that tell of a fault, which came
// at minute 3 and met a new runner at minute 4 and ended ones from minute 12.
func checkTold(t *testing.T, statuses []Shown, told string, late bool) {
	t.Helper()
	from, to := 4*time.Minute, 15*time.Minute
	if late {
		from, to = 12*time.Minute, 25*time.Minute
	}
	var texts []string
	for _, shown := range statuses {
		if shown.At < from || shown.At > to {
			continue
		}
		text := fmt.Sprintf("%s: %s", shown.Status, shown.Message)
		texts = append(texts, text)
		if told != "" && regexp.MustCompile(told).MatchString(text) {
			return
		}
		if told == "" && shown.Status != juju.Active {
			t.Errorf("%s: %s", shown.At, text)
		}
	}
	if told != "" {
		t.Errorf("no status fits %s:\n%s", told, strings.Join(texts, "\n"))
	}
}

// TestEveryKindIsAmongThem makes sure that a new kind of fault gets its row.
func TestEveryKindIsAmongThem(t *testing.T) {
	// No unit makes images in these lives: seeds, the tests of charm/lxd and acceptance
	// sessions have these.
	tested := map[lxd.Kind]bool{lxd.BuildFails: true, lxd.BuildHangs: true, lxd.PublishFails: true, lxd.PublishHangs: true,
		lxd.DownloadFails: true, lxd.DownloadHangs: true}
	for _, test := range everyFault() {
		tested[test.lxd.Kind] = true
	}
	for _, line := range lxd.Kinds() {
		if kind := strings.Fields(line)[0]; !tested[lxd.Kind(kind)] {
			t.Errorf("no life has LXD's fault %s", kind)
		}
	}
	tested = map[faults.Kind]bool{labguests.BuildFails: true, labguests.BuildHangs: true, openstack.SnapshotFails: true, openstack.SnapshotHangs: true}
	for _, test := range everyFaultOfOpenStack() {
		tested[test.openStack.Kind] = true
	}
	for _, line := range openstack.Kinds() {
		if kind := strings.Fields(line)[0]; !tested[faults.Kind(kind)] {
			t.Errorf("no life has OpenStack's fault %s", kind)
		}
	}
}
