package lxd

import (
	"testing"
	"time"
)

func TestRealLife(t *testing.T) {
	cloud := realCloud(t, nil)
	web := newWebServer(t)
	clock := time.Now()
	lap := func(what string) {
		t.Logf("%-24s %6.0f ms", what, time.Since(clock).Seconds()*1000)
		clock = time.Now()
	}
	template, err := cloud.Prepare(t.Context(), web.want())
	if err != nil {
		t.Fatal(err)
	}
	lap("prepare")
	if _, err := cloud.Prepare(t.Context(), web.want()); err != nil {
		t.Fatal(err)
	}
	lap("prepare again")
	birth := web.birth(cloud)
	if err := cloud.Create(t.Context(), template, birth); err != nil {
		t.Fatal(err)
	}
	lap("create and start")
	web.await(t, "online/"+birth.Name)
	lap("online")
}
