/** The agent's release, told to the control plane at every connect. */
export const AGENT_VERSION = '0.1.0';
