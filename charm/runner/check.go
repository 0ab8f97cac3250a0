package runner

import "context"

// Report is the state of a unit's runners, for a person.
type Report struct {
	// Online and Busy name runners that GitHub says are online; busy ones are
	// in both. Offline and Unknown are the others that are still there.
	Online, Busy, Offline, Unknown []string
	// Foreign are instances with names of our shape that are not ours.
	Foreign []string
}

// Check looks at the runners and changes nothing.
func (m *Manager) Check(ctx context.Context, scope Scope) (Report, error) {
	view, _, err := m.glance(ctx, scope)
	if err != nil {
		return Report{}, err
	}
	if away := view.Away[scope]; away != nil {
		return view.Report(), away
	}
	return view.Report(), nil
}

// Report returns the view as a person wants to read it.
func (v View) Report() Report {
	var report Report
	for _, r := range v.Runners {
		switch r.Verdict {
		case Busy:
			report.Online = append(report.Online, r.Name)
			report.Busy = append(report.Busy, r.Name)
		case Idle:
			report.Online = append(report.Online, r.Name)
		case Starting, Lost:
			report.Offline = append(report.Offline, r.Name)
		case Unknown, Finishing:
			report.Unknown = append(report.Unknown, r.Name)
		case Foreign:
			report.Foreign = append(report.Foreign, r.Name)
		}
	}
	return report
}
