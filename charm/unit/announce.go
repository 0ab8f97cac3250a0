package unit

import (
	"context"
	"io"
	"net"
	"time"

	"github-runner/charm/unitdir"
)

// AgentSocket is where the resident agent answers, in the unit's folder.
const AgentSocket = "agent.sock"

// YieldPath is what a process asks the agent for that wants the unit: the agent
// gives way while the connection is open, and looks at the world anew when it is
// closed. The kernel closes it for one that dies.
const YieldPath = "/yield"

// announceDeadline bounds what an agent that hangs can cost a hook.
const announceDeadline = time.Second

// announce asks the agent, if one is there, to give way until done is called.
func announce(ctx context.Context, dir *unitdir.Dir) (done func()) {
	ctx, cancel := context.WithTimeout(ctx, announceDeadline)
	defer cancel()
	conn, err := dir.Dial(ctx, AgentSocket)
	if err != nil {
		return func() {} // nobody is there who could have the unit for long
	}
	if err := ask(conn); err != nil {
		conn.Close()
		return func() {}
	}
	return func() { conn.Close() }
}

// ask sends the request. Its answer is of no interest: the lock tells when the
// agent has given way.
func ask(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(announceDeadline)); err != nil {
		return err
	}
	_, err := io.WriteString(conn, "POST "+YieldPath+" HTTP/1.1\r\nHost: agent\r\nContent-Length: 0\r\n\r\n")
	return err
}
