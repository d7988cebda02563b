package main

// commands returns the table of the verbs, in the order of the list.
func commands() []*command {
	return []*command{
		initCommand(),
		serveCommand(),
		createCommand(),
		listCommand(),
		attachCommand(),
		detachCommand(),
		rmCommand(),
		statusCommand(),
		checkCommand(),
		doctorCommand(),
		versionCommand(),
		helpCommand(),
		completeCommand(),
	}
}
