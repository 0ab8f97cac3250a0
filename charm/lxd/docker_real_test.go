package lxd

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github-runner/charm/runner"
	"github-runner/lab/image"
	"github-runner/lab/skip"
)

// Docker works in a container that is a runner: installed and used by a job, under
// the charm's own profile, on its own bridge. What it runs reaches the network
// through the runner.
func TestRealDockerInAContainer(t *testing.T) {
	cloud := realCloud(t, nil)
	web := newWebServer(t)
	web.files = dockerPackages(t)
	name := born(t, cloud, web)

	server, closed, err := cloud.connect(t.Context(), callDeadline)
	if err != nil {
		t.Fatal(err)
	}
	defer closed()
	instance, _, err := server.GetInstance(name)
	if err != nil || instance.ExpandedConfig["security.nesting"] != "true" || instance.ExpandedConfig["security.privileged"] != "" {
		t.Fatalf("the runner is set up as %v, %v", instance.ExpandedConfig, err)
	}

	began := time.Now()
	web.run(name, testJob+`bash "$ACTIONS_RUNNER_HOOK_JOB_STARTED"
		set -e
		mkdir /tmp/docker && cd /tmp/docker
		for ((i = 0; i < `+strconv.Itoa(len(web.files))+`; i++)); do curl -fsS -o "$i.deb" `+web.url+`/file/$i; done
		sudo dpkg --install ./*.deb
		mkdir -p tiny/bin && cp /bin/busybox tiny/bin/
		tar -C tiny -c . | sudo docker import - tiny
		[ "$(sudo docker run --rm tiny /bin/busybox echo from inside)" = "from inside" ]
		sudo docker run --rm tiny /bin/busybox wget -q -O - `+web.url+`/call/indocker
		sudo docker info`)
	ended := until(t, cloud, name, func(i runner.Instance) bool { return i.Status == runner.StatusStopped })
	remains, err := cloud.Collect(t.Context(), name, t.TempDir())
	if err != nil || !remains.EndedWell() || !ended.Completed {
		t.Fatalf("the job with docker left %s, %v:\n%s", remains.PostJob, err, remains.LastLines)
	}
	select {
	case <-web.called("indocker"):
	default:
		t.Error("nothing in docker's container reached the network")
	}
	t.Logf("docker was installed and used in %v", time.Since(began).Round(time.Second))
}

// dockerPackages are what the image lacks for docker, and a program to run in it.
func dockerPackages(t *testing.T) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	builder := image.Builder{Cache: image.DefaultCache, Mirror: image.DefaultMirror}
	packages, err := builder.Packages(ctx, "docker.io", "busybox-static")
	if err != nil {
		skip.Because(t, "docker in a container: %v", err)
	}
	return packages
}
